"""Are nodes that are set aside free when the time comes, for whom they are meant alone?"""

from __future__ import annotations

from typing import Any

import pytest

from penstock_contracts.journal import LeaseGranted, StopRequested
from penstock_contracts.queue_policy import QueuePolicy, Reservation
from penstock_scheduler.core.machine import SchedulerCore
from tests.scheduler.driver import Driver, a_job, a_node
from tests.scheduler.test_pools import obey

HOUR_S = 3_600


def set_aside(driver: Driver, from_s: int, to_s: int, **fields: Any) -> None:
    """From so many seconds from now on, until so many."""
    now_ms = driver.now_ns // 1_000_000
    fields.setdefault("nodes", ("n1",))
    start_ms, end_ms = now_ms + 1000 * from_s, now_ms + 1000 * to_s
    one = Reservation(name="window", start_ms=start_ms, end_ms=end_ms, **fields)
    obey(driver, QueuePolicy(reservations=(one,)))


def granted(facts: list[Any]) -> list[str]:
    return [fact.job_id for fact in facts if isinstance(fact, LeaseGranted)]


def stopped(facts: list[Any]) -> list[tuple[str, str]]:
    return [(fact.job_id, fact.reason) for fact in facts if isinstance(fact, StopRequested)]


@pytest.mark.parametrize(
    ("limit_s", "begins"), [(None, False), (HOUR_S, False), (HOUR_S // 2, True)]
)
def test_only_what_surely_ends_before_begins_where_nodes_will_be_set_aside(
    limit_s: int | None, begins: bool
) -> None:
    driver = Driver(a_node("n1", 8))
    set_aside(driver, HOUR_S, 2 * HOUR_S)
    job = a_job(1, gpus=1, time_limit_s=limit_s)
    assert granted(driver.submit(job)) == ([job.job_id] if begins else [])


def test_what_states_no_time_begins_there_as_long_as_the_window_is_far_away() -> None:
    driver = Driver(a_node("n1", 8))
    set_aside(driver, 48 * HOUR_S, 49 * HOUR_S)
    assert granted(driver.submit(a_job(1, gpus=1))) == [a_job(1).job_id]


def test_whom_nodes_are_set_aside_for_may_begin_there_and_others_may_when_it_is_over() -> None:
    driver = Driver(a_node("n1", 8))
    set_aside(driver, 0, HOUR_S, tenant="beta")
    driver.tick()
    mine, theirs = a_job(1, gpus=1), a_job(2, gpus=1)
    assert granted(driver.submit(mine, tenant="acme")) == []
    assert granted(driver.submit(theirs, tenant="beta")) == [theirs.job_id]
    assert granted(driver.tick(HOUR_S)) == [mine.job_id]


def test_a_project_has_what_is_set_aside_for_it_and_the_rest_of_its_tenant_has_not() -> None:
    driver = Driver(a_node("n1", 8))
    set_aside(driver, 0, HOUR_S, tenant="acme", project="vision")
    driver.tick()
    assert granted(driver.submit(a_job(1, gpus=1, project="speech"))) == []
    job = a_job(2, gpus=1, project="vision")
    assert granted(driver.submit(job)) == [job.job_id]


def test_what_still_runs_is_asked_to_end_ahead_of_the_window_by_its_grace() -> None:
    driver = Driver(a_node("n1", 8), a_node("n2", 1))
    job = a_job(1, gpus=8, grace_s=60)
    driver.submit(job)
    driver.start(job)
    set_aside(driver, HOUR_S, 2 * HOUR_S)
    assert stopped(driver.tick(HOUR_S - 70)) == []
    assert stopped(driver.tick(10)) == [(job.job_id, "reserved")]
    assert stopped(driver.tick(1)) == [], "it is asked once"
    driver.end(job, reason="stopped", code=None, signal=15)
    after = driver.core.state.jobs[job.job_id]
    assert (after.state, after.attempt, after.retries_used) == ("queued", 2, 0)
    assert granted(driver.tick(2 * HOUR_S)) == [job.job_id]


def test_nodes_are_set_aside_by_label_too() -> None:
    driver = Driver(a_node("n1", 8, labels={"rack": "r1"}), a_node("n2", 8, labels={"rack": "r2"}))
    set_aside(driver, 0, HOUR_S, nodes=(), node_labels={"rack": "r1"})
    driver.tick()
    facts = driver.submit(a_job(1, gpus=8), a_job(2, gpus=8))
    nodes = [rank.node for fact in facts if isinstance(fact, LeaseGranted) for rank in fact.ranks]
    assert nodes == ["n2"]


def test_a_core_begun_from_a_snapshot_keeps_windows_free_as_well() -> None:
    driver = Driver(a_node("n1", 8))
    set_aside(driver, 0, HOUR_S)
    driver.tick()
    driver.submit(a_job(1, gpus=1))
    other = SchedulerCore()
    other.restore(driver.core.snapshot())
    assert not other.settle(driver.now_ns, driver.seq + 1)
    assert other.settle(driver.now_ns + 2 * HOUR_S * 10**9, driver.seq + 1)
