"""How does a job live, from request to end?"""

from __future__ import annotations

import pytest

from penstock_contracts import journal
from penstock_contracts.leases import Declined, Exited, Prepared, Released, Rendezvous, Started
from tests.scheduler.driver import Driver, a_job, a_node


def names(facts: list) -> list[str]:
    return [type(fact).__name__ for fact in facts]


def finish(driver: Driver) -> journal.JobFinished:
    return [fact for fact in driver.facts if isinstance(fact, journal.JobFinished)][-1]


def test_a_job_that_fits_is_placed_in_the_entry_that_accepts_it() -> None:
    driver = Driver(a_node())
    assert names(driver.submit(a_job(gpus=1))) == ["JobSubmitted", "LeaseGranted"]


def test_a_single_rank_job_runs_and_succeeds() -> None:
    driver, job = Driver(a_node()), a_job(gpus=1)
    driver.submit(job)
    assert names(driver.start(job)) == ["AttemptPreparing", "AttemptRunning"]
    assert names(driver.end(job)) == ["RankExited", "JobFinished", "RankReleased"]
    assert finish(driver).state == "succeeded"
    assert not driver.core.state.leases and not driver.core.state.jobs


def test_a_failing_job_tells_its_exit_code() -> None:
    driver, job = Driver(a_node()), a_job()
    driver.submit(job)
    driver.start(job)
    driver.end(job, code=7)
    assert (finish(driver).state, finish(driver).exit_code) == ("failed", 7)


def test_a_job_ended_by_a_signal_tells_the_signal_and_no_code() -> None:
    driver, job = Driver(a_node()), a_job()
    driver.submit(job)
    driver.start(job)
    driver.end(job, code=None, reason="signalled", signal=9)
    assert (finish(driver).exit_code, finish(driver).signal) == (None, 9)


def test_a_retry_is_a_new_attempt_and_the_last_failure_counts() -> None:
    driver, job = Driver(a_node()), a_job(retries=1)
    driver.submit(job)
    driver.start(job)
    assert "AttemptEnded" in names(driver.end(job, code=1))
    assert driver.grant_of(job)[0].attempt == 2
    driver.start(job)
    driver.end(job, code=5)
    assert (finish(driver).attempt, finish(driver).exit_code) == (2, 5)


def test_a_job_stopped_at_its_time_limit_has_timed_out_and_is_not_retried() -> None:
    driver, job = Driver(a_node()), a_job(time_limit_s=1, retries=3)
    driver.submit(job)
    driver.start(job)
    driver.end(job, code=None, reason="time_limit", signal=15)
    assert finish(driver).state == "timed_out"


@pytest.mark.lesson(2, 9)
def test_a_device_is_not_granted_again_before_its_release_is_proven() -> None:
    driver = Driver(a_node(gpus=1))
    first, second = a_job(1, gpus=1), a_job(2, gpus=1)
    driver.submit(first, second)
    driver.start(first)
    driver.report(Exited, first, reason="exited", exit_code=0)
    assert "02" in second.job_id and not driver.core.state.jobs[second.job_id].ranks
    assert "LeaseGranted" in names(driver.report(Released, first))


@pytest.mark.lesson(2)
@pytest.mark.parametrize("wrong", [{"lease_seq": 1}, {"attempt": 2}])
def test_a_report_under_another_lease_changes_nothing(wrong: dict) -> None:
    driver, job = Driver(a_node()), a_job()
    driver.submit(job)
    assert driver.report(Started, job, **wrong) == []
    assert driver.report(Released, job, **wrong) == []


def test_a_repeated_report_changes_nothing() -> None:
    driver, job = Driver(a_node()), a_job()
    driver.submit(job)
    driver.start(job)
    again = driver.reported(Started, job)
    assert driver.feed(again) == []
    exited = driver.reported(Exited, job, reason="exited", exit_code=0)
    driver.feed(exited)
    assert driver.feed(exited) == []


def test_a_gang_starts_only_when_every_rank_is_prepared() -> None:
    driver, job = Driver(a_node("n1", 2), a_node("n2", 2)), a_job(ranks=4, gpus=1)
    driver.submit(job)
    where = Rendezvous("10.0.0.1", 20_000)
    for rank in (3, 2, 1):
        assert "GangReady" not in names(driver.report(Prepared, job, rank))
    assert names(driver.report(Prepared, job, 0, rendezvous=where))[-1] == "GangReady"


def test_the_first_rank_to_fail_stops_the_rest_and_gives_the_exit_code() -> None:
    driver, job = Driver(a_node()), a_job(ranks=3, gpus=1)
    driver.submit(job)
    driver.start(job)
    assert "StopRequested" in names(driver.end(job, 1, code=4))
    driver.end(job, 0, code=None, reason="signalled", signal=15)
    driver.end(job, 2, code=9)
    assert (finish(driver).state, finish(driver).exit_code) == ("failed", 4)


@pytest.mark.lesson(15)
def test_a_gang_is_placed_whole_or_not_at_all() -> None:
    driver = Driver(a_node(gpus=4))
    blocker, gang = a_job(1, gpus=1), a_job(2, ranks=4, gpus=1)
    driver.submit(blocker, gang)
    assert not [f for f in driver.facts if isinstance(f, journal.LeaseGranted) and f.attempt == 1][
        1:
    ]
    driver.start(blocker)
    driver.end(blocker)
    assert len(driver.grant_of(gang)[0].ranks) == 4


def test_cancelling_a_waiting_job_ends_it_at_once() -> None:
    driver = Driver(a_node(gpus=1))
    driver.submit(a_job(1, gpus=1), a_job(2, gpus=1))
    assert names(driver.cancel(a_job(2, gpus=1))) == ["CancelRequested", "JobFinished"]


def test_cancelling_a_running_job_stops_it_and_waits_for_its_end() -> None:
    driver, job = Driver(a_node()), a_job(gpus=1)
    driver.submit(job)
    driver.start(job)
    assert names(driver.cancel(job)) == ["CancelRequested", "StopRequested"]
    assert driver.cancel(job) == []
    driver.end(job, code=None, reason="cancelled", signal=15)
    assert finish(driver).state == "cancelled"


@pytest.mark.lesson(3, 16)
def test_a_declined_job_goes_elsewhere() -> None:
    driver, job = Driver(a_node("n1"), a_node("n2")), a_job(gpus=1)
    driver.submit(job)
    first = driver.grant_of(job)[0].ranks[0].node
    driver.report(Declined, job, code="device_gone", message="gone")
    assert driver.grant_of(job)[0].ranks[0].node != first


@pytest.mark.lesson(16)
def test_a_job_that_every_agent_declines_fails_in_the_end() -> None:
    driver, job = Driver(a_node("n1"), a_node("n2")), a_job(gpus=1)
    driver.submit(job)
    for _ in range(10):
        while not driver.core.state.leases:
            driver.tick()  # both have refused, and rest, as does the job
        driver.report(Declined, job, code="disk_full", message="no space")
    assert finish(driver).reason == "cannot_start"


def test_an_attempt_stopped_with_its_node_is_put_back_without_using_a_retry() -> None:
    driver, job = Driver(a_node()), a_job(gpus=1)
    driver.submit(job)
    driver.start(job)
    driver.end(job, code=None, reason="stopped", signal=15)
    assert driver.grant_of(job)[0].attempt == 2
    assert driver.core.state.jobs[job.job_id].retries_used == 0


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_job_whose_node_says_only_how_it_ended_has_run_and_succeeded(ranks: int) -> None:
    driver, job = Driver(a_node()), a_job(gpus=1, ranks=ranks)
    driver.submit(job)
    for rank in range(ranks):
        facts = driver.end(job, rank)
    assert names(facts)[:3] == ["RankExited", "AttemptRunning", "JobFinished"]
    assert finish(driver).state == "succeeded"
