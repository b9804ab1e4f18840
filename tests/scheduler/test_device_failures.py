"""Who bears it when a device fails under a job?"""

from __future__ import annotations

import msgspec
import pytest

from penstock_contracts import journal
from penstock_contracts.jobs import JobSpec
from penstock_runtime.entries import Committed
from penstock_scheduler.core.resting.nodes import REST_NS_FIRST
from penstock_scheduler.core.state import DEVICE_FAILURES_MAX
from penstock_scheduler.public_facts import public_messages
from tests.scheduler.driver import Driver, a_job, a_node

FAILED = {
    "reason": "device_failed",
    "message": "device n1-0 is unhealthy: XID 79 (GPU has fallen off the bus)",
}


def fail_device(driver: Driver, job: JobSpec, rank: int = 0) -> list[journal.JobFact]:
    """The attempt ends as its node tells it when a device under it has failed."""
    return driver.end(job, rank, code=None, **FAILED)


def ended(facts: list[journal.JobFact]) -> journal.AttemptEnded:
    (end,) = [fact for fact in facts if isinstance(fact, journal.AttemptEnded)]
    return end


def node_of(driver: Driver, job: JobSpec) -> str:
    return driver.core.state.jobs[job.job_id].ranks[0].node


@pytest.mark.lesson(5, 8)
def test_a_job_whose_device_failed_runs_elsewhere_and_no_retry_is_used() -> None:
    driver, job = Driver(a_node("n1"), a_node("n2")), a_job(gpus=1, retries=0)
    driver.submit(job)
    driver.start(job)
    first = node_of(driver, job)
    end = ended(fail_device(driver, job))
    assert (end.outcome, end.reason, end.message) == ("lost", "device_failed", FAILED["message"])
    state = driver.core.state.jobs[job.job_id]
    assert (state.attempt, state.retries_used) == (2, 0)
    assert node_of(driver, job) != first


@pytest.mark.lesson(6)
def test_the_node_of_a_failed_device_is_given_nothing_for_a_moment_and_keeps_what_runs() -> None:
    driver = Driver(a_node("n1", 8))
    struck, well = a_job(1, gpus=1), a_job(2, gpus=1)
    for job in (struck, well):
        driver.submit(job)
        driver.start(job)
    fail_device(driver, struck)
    assert driver.core.state.jobs[struck.job_id].state == "queued", "which device is not known yet"
    assert driver.core.state.jobs[well.job_id].state == "running"
    driver.tick(REST_NS_FIRST / 1e9 + 0.1)
    assert driver.core.state.jobs[struck.job_id].state == "placed"


@pytest.mark.lesson(16)
def test_a_job_on_which_devices_fail_again_and_again_does_not_go_through_them_all() -> None:
    driver, job = Driver(a_node("n1", 600)), a_job(gpus=1, retries=1)
    driver.submit(job)
    attempts = 0
    while job.job_id in driver.core.state.jobs and attempts < 10:
        driver.tick(61)
        driver.start(job)
        fail_device(driver, job)
        attempts += 1
    assert attempts == DEVICE_FAILURES_MAX + 1 + 1, "those that are spared, one retry, the last"
    finished = [f for f in driver.facts if isinstance(f, journal.JobFinished)]
    assert (finished[0].reason, finished[0].message) == ("device_failed", FAILED["message"])


@pytest.mark.lesson(8)
def test_a_gang_is_not_blamed_when_another_rank_fails_before_the_one_whose_device_has() -> None:
    driver, job = Driver(a_node("n1", 4)), a_job(gpus=1, ranks=2, retries=0)
    driver.submit(job)
    driver.start(job)
    driver.end(job, 0, code=1)
    end = ended(fail_device(driver, job, 1))
    assert (end.reason, end.message) == ("device_failed", FAILED["message"])
    assert driver.core.state.jobs[job.job_id].retries_used == 0


@pytest.mark.lesson(5)
def test_the_public_fact_of_the_lost_attempt_names_the_device() -> None:
    driver, job = Driver(a_node("n1"), a_node("n2")), a_job(gpus=1)
    driver.submit(job)
    driver.start(job)
    facts = fail_device(driver, job)
    entry = Committed(
        seq=7, term=1, writer="w", entry_id="e", now_ns=driver.now_ns, cursors={}, facts=facts
    )
    told = [msgspec.json.decode(payload) for _, _, payload, _ in public_messages(entry)]
    lost = next(event for event in told if event["fact"] == "lost")
    assert (lost["reason"], lost["message"]) == ("device_failed", FAILED["message"])
