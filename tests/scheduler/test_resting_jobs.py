"""Whom does a job hurt that cannot be started, and for how long is it tried?"""

from __future__ import annotations

from typing import Any

import pytest

from penstock_contracts import journal
from penstock_contracts.jobs import JobSpec
from penstock_contracts.leases import Declined
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.resting.jobs import (
    REST_NS_FIRST,
    REST_NS_MAX,
    TRIES_MAX,
    rest_ns,
)
from penstock_scheduler.core.telling.explain import explain
from penstock_scheduler.core.telling.reasons import Reasons
from penstock_scheduler.core.telling.views import findings
from tests.scheduler.driver import SECOND_NS, Driver, a_job, a_node


def holders(driver: Driver) -> list[str]:
    return [lease.job_id for lease in driver.core.state.leases.values()]


def of(kind: type, facts: list[Any]) -> list[Any]:
    return [fact for fact in facts if isinstance(fact, kind)]


def fail_to_start(driver: Driver, job: JobSpec, times: int, how: str = "spawn_failed") -> None:
    """So many attempts in a row, each as soon as it is granted."""
    for _ in range(times):
        while job.job_id not in holders(driver):
            driver.tick()
        if how == "declined":
            driver.report(Declined, job, code="no_port", message="none is free")
        else:
            driver.end(job, code=None, reason=how, message="no such file: /bin/x")


def test_after_the_first_failure_another_node_may_take_it_at_once() -> None:
    driver, job = Driver(a_node("n1"), a_node("n2")), a_job(gpus=1, retries=9)
    driver.submit(job)
    fail_to_start(driver, job, 1)
    assert driver.core.state.jobs[job.job_id].attempt == 2 and holders(driver) == [job.job_id]


def test_each_failure_in_a_row_doubles_the_rest_up_to_a_bound() -> None:
    rests = [rest_ns(failures) for failures in range(1, 12)]
    assert rests[:4] == [0, REST_NS_FIRST, 2 * REST_NS_FIRST, 4 * REST_NS_FIRST]
    assert rests[-1] == REST_NS_MAX == rest_ns(1_000_000)


@pytest.mark.lesson(16)
@pytest.mark.parametrize("how", ["spawn_failed", "prepare_failed", "declined"])
def test_a_job_that_can_never_be_started_is_tried_ten_times_in_minutes_and_then_given_up(
    how: str,
) -> None:
    driver, job = Driver(*(a_node(f"n{n}", 1) for n in range(16))), a_job(gpus=1, retries=100)
    driver.submit(job)
    before_ns = driver.now_ns
    fail_to_start(driver, job, TRIES_MAX, how)
    (end,) = of(journal.JobFinished, driver.facts)
    assert (end.state, end.reason, end.attempt) == ("failed", "cannot_start", TRIES_MAX)
    assert end.message.startswith("10 attempts in a row could not be started; the last one: ")
    assert end.message.endswith("none is free (no_port)" if how == "declined" else "/bin/x")
    assert 120 <= (driver.now_ns - before_ns) // SECOND_NS <= 300
    assert not driver.core.state.resting and not findings(driver.core.state)


@pytest.mark.lesson(16)
def test_while_a_job_rests_that_cannot_be_started_all_others_run() -> None:
    driver, bad = Driver(a_node(gpus=1)), a_job(1, gpus=1, retries=100, priority=9)
    driver.submit(bad)
    fail_to_start(driver, bad, 4)
    ran = 0
    for number in range(2, 12):
        good = a_job(number, gpus=1)
        driver.submit(good)
        assert holders(driver) == [good.job_id], "although the other has the higher priority"
        driver.start(good)
        driver.end(good)
        ran += 1
    assert ran == 10 and bad.job_id in driver.core.state.resting


def test_an_attempt_that_runs_makes_up_for_all_failures_before() -> None:
    driver, job = Driver(a_node()), a_job(gpus=1, retries=100)
    driver.submit(job)
    fail_to_start(driver, job, 5)
    while not holders(driver):
        driver.tick()
    driver.start(job)
    driver.end(job, code=1)
    assert holders(driver) == [job.job_id], "work that runs and fails is retried at once"
    fail_to_start(driver, job, 1)
    assert holders(driver) == [job.job_id]


def test_what_is_lost_or_preempted_before_it_runs_is_not_the_jobs_fault() -> None:
    driver, job = Driver(a_node()), a_job(gpus=1)
    driver.submit(job)
    for _ in range(TRIES_MAX + 2):
        driver.end(job, code=None, reason="stopped", signal=15)
    assert holders(driver) == [job.job_id]
    assert driver.core.state.jobs[job.job_id].failed_starts == 0


def test_a_job_that_rests_can_be_cancelled_and_is_counted_as_waiting() -> None:
    driver, job = Driver(a_node()), a_job(gpus=1, retries=100)
    driver.submit(job)
    fail_to_start(driver, job, 3)
    assert driver.core.state.resting.of("acme") == 1 and not findings(driver.core.state)
    driver.cancel(job)
    assert driver.core.state.resting.of("acme") == 0 and not driver.core.state.resting
    assert driver.core.state.finished == {"cancelled": 1}
    assert not of(journal.JobsWoken, driver.tick(600))


def test_a_job_that_rests_says_how_long_and_why() -> None:
    driver, job = Driver(a_node()), a_job(gpus=1, retries=100)
    driver.submit(job)
    fail_to_start(driver, job, 5)
    state = driver.core.state
    why = explain(state, state.jobs[job.job_id], Reasons(), driver.now_ns)
    assert why.code == "resting" and why.needed == "1 GPU(s)"
    assert why.sentence == (
        "resting for another 8 s: 5 attempts in a row could not be started, and at 10 it is given "
        "up; the last one: no such file: /bin/x; it is expected to begin in 8 s"
    )


def test_a_rest_outlives_a_restart_and_ends_at_the_same_instant() -> None:
    driver, job = Driver(a_node()), a_job(gpus=1, retries=100)
    driver.submit(job)
    fail_to_start(driver, job, 6)
    core = SchedulerCore()
    core.restore(driver.core.snapshot())
    until_ns = driver.now_ns + rest_ns(6)
    for state in (core.state, driver.core.state):
        assert state.resting.due(until_ns - 1) == ()
        assert state.resting.due(until_ns) == (job.job_id,)
    assert core.snapshot() == driver.core.snapshot()
    restored = Driver(core=core)
    restored.now_ns, restored.seq, restored.facts = until_ns, driver.seq, driver.facts
    (woken,) = of(journal.JobsWoken, restored.tick(0))
    assert woken.job_ids == (job.job_id,) and holders(restored) == [job.job_id]
