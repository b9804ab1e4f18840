"""Does the first in line hold up others when it is not room that it waits for?"""

from __future__ import annotations

import pytest

from penstock_contracts.queue_policy import Pool, QueuePolicy
from tests.scheduler.driver import a_job
from tests.scheduler.money import GPU_HOUR, USD, Ledger, a_paying_node, a_price
from tests.scheduler.test_pools import granted, obey

ORDERS = pytest.mark.parametrize("order", ["fifo", "hold"])
LARGE, SMALL = a_job(2, gpus=4, disconnect_s=60), a_job(3, gpus=1)


def an_almost_full_pool(order: str) -> Ledger:
    """Three of four GPUs are taken."""
    ledger = Ledger(a_paying_node(gpus=4))
    obey(ledger, QueuePolicy(pools=(Pool(name="default", order=order, backfill="none"),)))
    ledger.submit(a_job(1, gpus=3), tenant="rich")
    return ledger


@ORDERS
def test_who_could_not_pay_if_there_were_room_holds_up_nobody_until_he_can(order: str) -> None:
    ledger = an_almost_full_pool(order)
    ledger.budget(limit=5_000_000)
    ledger.submit(LARGE)
    assert granted(ledger.submit(SMALL, tenant="rich")) == [SMALL.job_id]
    ledger.end(SMALL)
    ledger.budget(limit=10 * GPU_HOUR)
    assert granted(ledger.submit(a_job(4, gpus=1), tenant="rich")) == []


@ORDERS
def test_whose_money_is_gone_while_he_waits_holds_up_others_no_longer(order: str) -> None:
    ledger = an_almost_full_pool(order)
    ledger.budget(limit=10 * GPU_HOUR)
    ledger.submit(LARGE)
    assert granted(ledger.submit(SMALL, tenant="rich")) == []
    assert granted(ledger.budget(limit=5_000_000)) == [SMALL.job_id]


@ORDERS
def test_who_waits_for_room_that_he_can_pay_for_holds_up_others_though_there_is_dearer(
    order: str,
) -> None:
    sites = ("dear", "fair")
    ledger = Ledger(*(a_paying_node(name, gpus=4, labels={"site": name}) for name in sites))
    obey(ledger, QueuePolicy(pools=(Pool(name="default", order=order, backfill="none"),)))
    ledger.rates(a_price(), a_price("gpu", micro=2_000 * USD, version=2, site="dear"))
    ledger.submit(a_job(1, gpus=3, node_labels={"site": "fair"}), tenant="rich")
    ledger.credit(USD)
    assert granted(ledger.submit(LARGE)) == []
    assert granted(ledger.submit(SMALL, tenant="rich")) == []
    ledger.end(a_job(1))
    assert {grant.job_id for grant in ledger.grants()} >= {LARGE.job_id, SMALL.job_id}
