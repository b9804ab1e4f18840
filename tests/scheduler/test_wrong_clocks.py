"""What harm does a scheduler's clock do that was wrong by a year for a while?"""

from __future__ import annotations

import pytest

from penstock_contracts import journal
from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec
from penstock_scheduler.core.events import JobsRequested
from tests.scheduler.driver import EPOCH_NS, Driver, a_job, a_node

DAY_S = 86_400
YEAR_S = 365 * DAY_S
EPOCH_MS = EPOCH_NS // 1_000_000


def made_at(at_ms: int, number: int = 7) -> JobSpec:
    return JobSpec(job_id=ulid(at_ms, number), command=("true",))


def request(driver: Driver, spec: JobSpec, wall_ms: int) -> list[str]:
    """Why the job was refused; empty when it was accepted."""
    facts = driver.feed(JobsRequested("acme", 1, (spec,), wall_ms))
    refused = [fact for fact in facts if isinstance(fact, journal.RequestRefused)]
    return [item.refusal.code for fact in refused for item in fact.items]


def test_ids_are_judged_by_the_clock_and_not_by_a_journal_that_is_a_year_ahead() -> None:
    driver = Driver(a_node("n1", 1))
    driver.tick(YEAR_S)
    assert request(driver, made_at(EPOCH_MS + 5), wall_ms=EPOCH_MS) == []


@pytest.mark.parametrize("hours_wrong", [1, 24])
def test_a_clock_that_was_a_year_ahead_takes_at_most_as_much_from_the_ids_as_it_lasted(
    hours_wrong: int,
) -> None:
    driver = Driver(a_node("n1", 1))
    driver.tick(1)
    driver.tick(YEAR_S)
    for _ in range(hours_wrong):
        driver.tick(3_600)
    days_left = 7 - (2 * hours_wrong + 4) / 24
    old = made_at(EPOCH_MS - int(days_left * DAY_S * 1_000))
    assert request(driver, old, wall_ms=EPOCH_MS) == []


def test_what_ended_before_the_clock_was_wrong_is_still_known_after_it() -> None:
    driver = Driver(a_node("n1", 1))
    job = a_job(1, gpus=1)
    driver.submit(job)
    driver.start(job)
    driver.end(job)
    driver.tick(1)
    driver.tick(YEAR_S)
    assert request(driver, job, wall_ms=EPOCH_MS) == []
    assert job.job_id not in driver.core.state.jobs, "the same job is not run again"
