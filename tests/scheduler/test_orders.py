"""Does an order say what its node must not begin anew?"""

from __future__ import annotations

import pytest

from penstock_contracts.leases import Exited, Started
from penstock_scheduler.core.orders.desired import changes_of, orders_of
from tests.scheduler.driver import Driver, a_job, a_node


def begun(driver: Driver, node: str = "n1") -> dict[int, bool]:
    """By attempt, whether its order there says that it has begun."""
    orders = orders_of(driver.core.state, node)
    changed, _ = changes_of(driver.core.state, node, set(orders))
    assert {order.key: order for order in changed} == orders
    return {order.attempt: order.begun for order in orders.values()}


@pytest.mark.lesson(1)
def test_an_order_says_that_its_attempt_has_begun_once_its_node_has_said_so() -> None:
    driver, job = Driver(a_node()), a_job(gpus=1)
    driver.submit(job)
    assert begun(driver) == {1: False}
    driver.report(Started, job)
    assert begun(driver) == {1: True}
    driver.cancel(job)
    assert begun(driver) == {1: True}


@pytest.mark.lesson(1)
def test_an_attempt_that_is_over_and_not_released_is_not_begun_again_and_the_next_may_be() -> None:
    driver, job = Driver(a_node()), a_job(gpus=1, retries=1)
    driver.submit(job)
    driver.report(Exited, job, reason="lost")
    assert begun(driver) == {1: True, 2: False}
