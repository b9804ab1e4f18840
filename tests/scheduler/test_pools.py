"""Whose turn is it in a pool, and whom does the first in line hold up?"""

from __future__ import annotations

from typing import Any

import pytest

from penstock_contracts.journal import LeaseGranted
from penstock_contracts.queue_facts import HeadHeld, HeadPassed, PolicySet
from penstock_contracts.queue_policy import Pool, QueuePolicy
from tests.scheduler.driver import Driver, a_job, a_node


def under(policy: QueuePolicy, *nodes: Any) -> Driver:
    """A scheduler that obeys this policy."""
    driver = Driver(*nodes)
    obey(driver, policy)
    return driver


def obey(driver: Driver, policy: QueuePolicy) -> list[Any]:
    version = driver.core.state.rules.version + 1
    return driver.fold(PolicySet(version, policy, f"key-{version}", driver.now_ns // 1_000_000))


def one_pool(**fields: Any) -> QueuePolicy:
    fields.setdefault("backfill", "none")
    return QueuePolicy(pools=(Pool(name="default", **fields),))


def granted(facts: list[Any]) -> list[str]:
    return [fact.job_id for fact in facts if isinstance(fact, LeaseGranted)]


def test_strictly_first_come_first_served_whoever_is_first_holds_up_all_behind_it() -> None:
    driver = under(one_pool(order="fifo"), a_node("n1", 4))
    running, large, small = a_job(1, gpus=3), a_job(2, gpus=4), a_job(3, gpus=1)
    driver.submit(running)
    driver.start(running)
    assert granted(driver.submit(large, small)) == []
    assert granted(driver.submit(a_job(4, gpus=1, priority=1))) == []
    driver.end(running)
    assert driver.core.state.jobs[large.job_id].state == "placed"
    assert driver.core.state.jobs[small.job_id].state == "queued"
    driver.start(large)
    assert granted(driver.end(large)) == [small.job_id, a_job(4).job_id]


def test_a_higher_class_goes_before_the_one_that_holds_up_the_others() -> None:
    driver = under(one_pool(order="fifo"), a_node("n1", 4))
    running, urgent = a_job(1, gpus=3), a_job(3, gpus=1, priority=9)
    driver.submit(running)
    driver.submit(a_job(2, gpus=4))
    assert granted(driver.submit(urgent)) == [urgent.job_id]


@pytest.mark.lesson(15)
@pytest.mark.parametrize("order", ["fifo", "hold"])
def test_a_job_that_no_node_could_take_now_holds_up_nobody(order: str) -> None:
    driver = under(one_pool(order=order), a_node("n1", 4), a_node("n2", 8))
    driver.lose("n2")
    large, small = a_job(2, gpus=8), a_job(3, gpus=1)
    assert granted(driver.submit(large, small)) == [small.job_id]


def test_a_cancelled_head_holds_up_nobody_any_more() -> None:
    driver = under(one_pool(order="fifo"), a_node("n1", 4))
    large, small = a_job(2, gpus=4), a_job(3, gpus=1)
    driver.submit(a_job(1, gpus=3))
    driver.submit(large, small)
    assert granted(driver.cancel(large)) == [small.job_id]


def test_the_first_that_fits_goes_where_nobody_holds_up_anybody() -> None:
    driver = under(one_pool(order="skip"), a_node("n1", 4))
    driver.submit(a_job(1, gpus=3))
    small = a_job(3, gpus=1)
    assert granted(driver.submit(a_job(2, gpus=4), small)) == [small.job_id]


def test_who_holds_up_others_for_a_while_does_so_no_longer() -> None:
    driver = under(one_pool(order="hold", hold_s=60), a_node("n1", 4))
    large, small, next_large = a_job(2, gpus=4), a_job(3, gpus=1), a_job(4, gpus=2)
    driver.submit(a_job(1, gpus=3))
    facts = driver.submit(large, small, next_large)
    assert [f.job_id for f in facts if isinstance(f, HeadHeld)] == [large.job_id]
    assert granted(facts) == granted(driver.tick(59)) == []
    facts = driver.tick(2)
    assert [f.job_id for f in facts if isinstance(f, HeadPassed)] == [large.job_id]
    assert granted(facts) == [small.job_id]
    assert driver.core.state.heads["default"][0] == next_large.job_id, "now it is that one's turn"


def test_what_waits_for_long_enough_outweighs_a_class() -> None:
    driver = under(one_pool(order="tiered", aging_s=3_600), a_node("n1", 4))
    running, old = a_job(1, gpus=4), a_job(2, gpus=4, priority=5)
    driver.submit(running)
    driver.start(running)
    driver.submit(old)
    driver.tick(3_700)
    driver.submit(a_job(3, gpus=4, priority=6))
    assert granted(driver.end(running)) == [old.job_id]


def test_within_a_class_those_that_say_that_they_are_short_go_first() -> None:
    driver = under(one_pool(order="tiered"), a_node("n1", 4))
    running, long, short = (
        a_job(1, gpus=4),
        a_job(2, gpus=4, time_limit_s=7_200),
        a_job(3, gpus=4, time_limit_s=600),
    )
    driver.submit(running)
    driver.start(running)
    driver.submit(long)
    driver.tick(60)
    driver.submit(short)
    assert granted(driver.end(running)) == [short.job_id]


def test_as_its_deadline_comes_near_a_job_goes_first() -> None:
    driver = under(one_pool(order="tiered"), a_node("n1", 4))
    running = a_job(1, gpus=4)
    driver.submit(running)
    driver.start(running)
    due_ms = driver.now_ns // 1_000_000 + 4 * 3_600_000
    due = a_job(3, gpus=4, priority=0, time_limit_s=600, deadline_ms=due_ms)
    driver.submit(a_job(2, gpus=4, priority=5), due)
    driver.tick(60)
    assert granted(driver.end(running)) == [due.job_id]


def test_a_job_runs_only_in_its_pool_and_a_node_is_in_the_first_that_takes_it() -> None:
    policy = QueuePolicy(
        pools=(Pool(name="big", node_labels={"size": "big"}), Pool(name="default"))
    )
    driver = under(policy, a_node("n1", 8, labels={"size": "big"}), a_node("n2", 4))
    nodes = driver.core.state.nodes
    assert {name: node.pool for name, node in nodes.items()} == {"n1": "big", "n2": "default"}
    in_big, in_rest = a_job(1, gpus=1, pool="big"), a_job(2, gpus=1)
    facts = driver.submit(in_big, in_rest)
    places = {f.job_id: f.ranks[0].node for f in facts if isinstance(f, LeaseGranted)}
    assert places == {in_big.job_id: "n1", in_rest.job_id: "n2"}
    gang = a_job(3, gpus=4, ranks=2)
    assert granted(driver.submit(gang)) == [], "the other node is in another pool"


def test_a_pool_that_is_held_up_holds_up_no_other() -> None:
    policy = QueuePolicy(
        pools=(
            Pool(name="big", node_labels={"size": "big"}, order="fifo", backfill="none"),
            Pool(name="default", order="fifo", backfill="none"),
        )
    )
    driver = under(policy, a_node("n1", 8, labels={"size": "big"}), a_node("n2", 4))
    driver.submit(a_job(1, gpus=7, pool="big"))
    blocked, behind = a_job(2, gpus=8, pool="big"), a_job(3, gpus=1, pool="big")
    other = a_job(4, gpus=4)
    assert granted(driver.submit(blocked, behind, other)) == [other.job_id]


def test_jobs_of_a_pool_that_is_no_more_wait_in_the_usual_one() -> None:
    policy = QueuePolicy(
        pools=(Pool(name="big", node_labels={"size": "big"}), Pool(name="default"))
    )
    driver = under(policy, a_node("n1", 4))
    waiting = a_job(1, gpus=1, pool="big")
    driver.fleet_moves()
    assert granted(driver.submit(waiting)) == []
    assert granted(obey(driver, one_pool())) == [waiting.job_id]
