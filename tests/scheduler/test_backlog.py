"""How much may wait, and whom does a full line concern?"""

from __future__ import annotations

from typing import Any

import pytest

from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import JobSubmitted, RequestRefused
from penstock_scheduler.core import remembering, requests
from tests.scheduler.driver import Driver, a_job, a_node


def accepted(facts: list[Any]) -> int:
    return sum(isinstance(fact, JobSubmitted) for fact in facts)


def codes(facts: list[Any]) -> list[str]:
    refusals = [fact for fact in facts if isinstance(fact, RequestRefused)]
    return [item.refusal.code for refusal in refusals for item in refusal.items]


def test_a_tenant_that_floods_the_line_is_refused_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requests, "WAITING_JOBS_OF_TENANT_MAX", 3)
    driver = Driver(a_node("n1", 1))
    driver.submit(a_job(1, gpus=1), tenant="flood")
    flood = driver.submit(*(a_job(10 + i, gpus=1) for i in range(5)), tenant="flood")
    assert (accepted(flood), codes(flood)) == (3, ["backlog_full"] * 2)
    calm = driver.submit(*(a_job(20 + i, gpus=1) for i in range(3)), tenant="calm")
    assert (accepted(calm), codes(calm)) == (3, [])


def test_room_in_line_comes_back_when_jobs_start_or_are_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requests, "WAITING_JOBS_OF_TENANT_MAX", 2)
    driver = Driver(a_node("n1", 1))
    jobs = [a_job(i, gpus=1) for i in range(1, 4)]
    driver.submit(jobs[0])
    driver.submit(*jobs[1:])
    assert codes(driver.submit(a_job(9, gpus=1))) == ["backlog_full"]
    driver.cancel(jobs[2])
    assert accepted(driver.submit(a_job(9, gpus=1))) == 1
    assert codes(driver.submit(a_job(10, gpus=1))) == ["backlog_full"]
    driver.start(jobs[0])
    driver.end(jobs[0])
    assert accepted(driver.submit(a_job(10, gpus=1))) == 1


def test_large_requests_fill_the_line_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "WAITING_BYTES_OF_TENANT_MAX", 20_000)
    monkeypatch.setattr(requests, "WAITING_BYTES_MAX", 30_000)
    driver = Driver(a_node("n1", 1))
    driver.submit(a_job(1, gpus=1), tenant="flood")
    large = {"gpus": 1, "env": {"DATA": "x" * 10_000}}
    flood = driver.submit(*(a_job(10 + i, **large) for i in range(4)), tenant="flood")
    assert (accepted(flood), codes(flood)) == (2, ["backlog_full"] * 2)
    other = driver.submit(*(a_job(20 + i, **large) for i in range(4)), tenant="other")
    assert (accepted(other), codes(other)) == (1, ["backlog_full"] * 3)
    for spec in [job.spec for job in driver.core.state.jobs.values()]:
        driver.cancel(spec, tenant=driver.core.state.jobs[spec.job_id].tenant)
    assert (driver.core.state.line.all.jobs, driver.core.state.line.all.bytes) == (0, 0)


def test_very_many_different_demands_of_one_tenant_are_refused_and_known_ones_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requests, "SHAPES_OF_TENANT_MAX", 2)
    driver = Driver(a_node("n1", 1))
    driver.submit(a_job(1, gpus=1))
    driver.submit(a_job(2, gpus=1, memory_mib=1))
    driver.submit(a_job(3, gpus=1, memory_mib=2))
    assert codes(driver.submit(a_job(4, gpus=1, memory_mib=3))) == ["backlog_full"]
    assert accepted(driver.submit(a_job(5, gpus=1, memory_mib=2))) == 1
    assert accepted(driver.submit(a_job(6, gpus=1, memory_mib=3), tenant="other")) == 1


def test_all_tenants_together_fill_the_mesh_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "LIVE_JOBS_MAX", 2)
    driver = Driver(a_node("n1", 1))
    driver.submit(a_job(1, gpus=1), tenant="a")
    driver.submit(a_job(2, gpus=1), tenant="b")
    assert codes(driver.submit(a_job(3, gpus=1), tenant="c")) == ["backlog_full"]


def made_at(now_ns: int) -> JobSpec:
    return JobSpec(job_id=ulid(now_ns // 1_000_000, 7), command=("true",))


def remember(driver: Driver, count: int, oldest_ago_s: int) -> list[str]:
    """So many ended jobs, evenly old, as a snapshot would have brought them."""
    made_ms = [driver.now_ns // 1_000_000 - oldest_ago_s * 1_000 * i // count for i in range(count)]
    ids = [ulid(at_ms, i) for i, at_ms in enumerate(reversed(made_ms))]
    driver.core.state.remembered = dict.fromkeys(ids, "digest")
    return ids


def test_of_too_many_ended_jobs_the_oldest_are_forgotten_and_refused_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remembering, "REMEMBERED_MAX", 999)
    driver = Driver(a_node())
    ids = remember(driver, 1_000, oldest_ago_s=86_400)
    driver.tick()
    left = driver.core.state.remembered
    assert 890 <= len(left) <= 910
    assert list(left) == ids[-len(left) :]
    again = JobSpec(job_id=ids[0], command=("true",))
    assert codes(driver.submit(again)) == ["job_id_too_old"]
    assert accepted(driver.submit(made_at(driver.now_ns)))


def test_young_ids_are_kept_and_work_is_refused_before_memory_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remembering, "REMEMBERED_MAX", 999)
    monkeypatch.setattr(requests, "REMEMBERED_REFUSED", 1_000)
    driver = Driver(a_node())
    remember(driver, 1_000, oldest_ago_s=600)
    driver.tick()
    assert len(driver.core.state.remembered) == 1_000
    assert codes(driver.submit(a_job(7))) == ["backlog_full"]
    driver.tick(3_600)
    assert accepted(driver.submit(made_at(driver.now_ns)))
