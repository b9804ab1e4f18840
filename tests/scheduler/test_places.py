"""What is kept for a job that waits, and who may have it in the meantime?"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock_contracts.asks import Alternative
from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import LeaseGranted, PlaceGivenUp, PlaceKept, StopRequested
from penstock_contracts.nodes import NodeCordoned, NodeRegistered
from penstock_contracts.queue_facts import BACKFILL, KeptRank
from penstock_scheduler.core.events import NodeChanged
from penstock_scheduler.core.machine import SchedulerCore
from tests.scheduler.driver import Driver, a_job, a_node

HOUR_MS = 3_600_000


def keep(driver: Driver, job: JobSpec, node: str, devices: range, ahead_ms: int) -> PlaceKept:
    """As if it had been decided at a tick."""
    uuids = tuple(f"{node}-{index}" for index in devices)
    at_ms = driver.now_ns // 1_000_000 + ahead_ms
    ranks = (KeptRank(0, node, uuids),)
    fact = PlaceKept(job.job_id, ranks, at_ms, BACKFILL, awaits=(a_job(1).job_id,))
    driver.seq += 1
    driver.core.apply(fact, driver.seq, driver.now_ns)
    return fact


def placed(facts: list[Any]) -> dict[str, tuple[str, ...]]:
    """Who was granted which devices."""
    return {
        fact.job_id: tuple(device for rank in fact.ranks for device in rank.devices)
        for fact in facts
        if isinstance(fact, LeaseGranted)
    }


def stopped(facts: list[Any]) -> list[str]:
    """Who was asked to end, as it may not stay where it is."""
    return [
        fact.job_id
        for fact in facts
        if isinstance(fact, StopRequested) and fact.reason == "reserved"
    ]


def blocked(gpus_running: int = 4, gpus_wanted: int = 8, **fields: Any) -> tuple[Driver, JobSpec]:
    """A node on which `a_job(1)` runs, and `a_job(2)`, which waits for all of it."""
    driver = Driver(a_node("n1", 8))
    driver.submit(a_job(1, gpus=gpus_running, **fields))
    driver.start(a_job(1, gpus=gpus_running, **fields))
    large = a_job(2, gpus=gpus_wanted)
    driver.submit(large)
    return driver, large


def test_nothing_that_may_stay_for_long_is_put_into_a_kept_place() -> None:
    driver, large = blocked()
    keep(driver, large, "n1", range(8), HOUR_MS)
    assert placed(driver.submit(a_job(3, gpus=1), a_job(4, gpus=1, time_limit_s=3_600))) == {}
    assert driver.core.state.nodes["n1"].free[4:] == [1000] * 4, "it is free, and kept"


def test_what_surely_ends_before_a_kept_place_is_wanted_may_run_there() -> None:
    driver, large = blocked()
    keep(driver, large, "n1", range(8), HOUR_MS)
    assert placed(driver.submit(a_job(3, gpus=1, time_limit_s=1_800))).keys() == {a_job(3).job_id}


def test_of_a_gang_with_a_choice_the_one_that_fits_before_a_place_is_wanted_runs_there() -> None:
    driver, large = blocked()
    keep(driver, large, "n1", range(8), HOUR_MS)
    few = Alternative(gpus=2)
    gang = a_job(3, ranks=2, gpus=4, time_limit_s=600, alternatives=(few,))
    (grant,) = [f for f in driver.submit(gang) if isinstance(f, LeaseGranted)]
    assert grant.alternative == 1
    assert [len(rank.devices) for rank in grant.ranks] == [2, 2]


def test_whoever_has_a_place_gets_exactly_it_when_it_is_wholly_free() -> None:
    driver, large = blocked()
    keep(driver, large, "n1", range(8), HOUR_MS)
    got = placed(driver.end(a_job(1)))
    assert got == {large.job_id: tuple(f"n1-{index}" for index in range(8))}
    assert not driver.core.state.places
    assert driver.core.state.nodes["n1"].kept is None


def test_a_place_is_given_up_when_its_node_takes_no_more_work() -> None:
    driver, large = blocked()
    keep(driver, large, "n1", range(8), HOUR_MS)
    facts = driver.feed(NodeChanged(NodeCordoned("n1", driver.now_ns)))
    given_up = [fact for fact in facts if isinstance(fact, PlaceGivenUp)]
    assert [fact.job_id for fact in given_up] == [large.job_id]
    assert "n1" in given_up[0].reason


def test_a_place_is_given_up_when_one_of_its_devices_is_sick() -> None:
    driver, large = blocked()
    keep(driver, large, "n1", range(8), HOUR_MS)
    node = a_node("n1", 8)
    devices = tuple(
        msgspec.structs.replace(device, healthy=device.index != 7) for device in node.devices
    )
    sick = msgspec.structs.replace(node, devices=devices)
    facts = driver.feed(NodeChanged(NodeRegistered(sick)))
    assert [f.job_id for f in facts if isinstance(f, PlaceGivenUp)] == [large.job_id]


def test_a_cancelled_job_leaves_its_place_to_others() -> None:
    driver, large = blocked()
    keep(driver, large, "n1", range(8), HOUR_MS)
    waits = a_job(3, gpus=4)
    assert placed(driver.submit(waits)) == {}
    assert placed(driver.cancel(large)).keys() == {waits.job_id}


def test_what_will_have_ended_is_not_kept_twice() -> None:
    """Of the node's CPU, the running job holds what its successor will need."""
    driver = Driver(a_node("n1", 8, cpu_milli=16_000))
    running = a_job(1, gpus=4, cpu_milli=8_000, time_limit_s=600)
    driver.submit(running)
    driver.start(running)
    large = a_job(2, gpus=8, cpu_milli=8_000)
    driver.submit(large)
    keep(driver, large, "n1", range(8), HOUR_MS)
    assert placed(driver.submit(a_job(3, cpu_milli=8_000))).keys() == {a_job(3).job_id}
    assert placed(driver.end(running)).keys() == {large.job_id}


def test_whoever_overstays_in_a_kept_place_is_asked_to_end() -> None:
    driver, large = blocked()
    keep(driver, large, "n1", range(8), HOUR_MS)
    guest = a_job(3, gpus=1, time_limit_s=1_800)
    driver.submit(guest)
    driver.end(a_job(1))
    assert stopped(driver.tick(3_580)) == [], "it is not late yet"
    assert stopped(driver.tick(20)) == [guest.job_id]
    driver.end(guest, reason="stopped", code=None, signal=15)
    assert driver.core.state.jobs[large.job_id].state == "placed"
    assert driver.core.state.jobs[guest.job_id].attempt == 2, "it runs again, and no retry is used"


def test_a_guest_is_not_asked_to_end_for_a_job_that_must_wait_for_others_too() -> None:
    driver, large = blocked()
    keep(driver, large, "n1", range(8), HOUR_MS)
    driver.submit(a_job(3, gpus=1, time_limit_s=1_800))
    assert stopped(driver.tick(3_600)) == []


def test_a_core_begun_from_a_snapshot_keeps_the_same_places() -> None:
    driver, large = blocked()
    keep(driver, large, "n1", range(8), HOUR_MS)
    other = SchedulerCore()
    other.restore(driver.core.snapshot())
    assert other.snapshot() == driver.core.snapshot()
    assert other.state.nodes["n1"].kept == driver.core.state.nodes["n1"].kept
    fleets = [core.state.capacity.packer.fleet.room("n1") for core in (driver.core, other)]
    assert fleets[0] == fleets[1]


def test_of_places_that_wait_only_for_each_other_the_later_is_given_up() -> None:
    """Both counted on a lease that ends; nobody else will ever leave room for the two."""
    driver, large = blocked(gpus_running=4, gpus_wanted=8)
    keep(driver, large, "n1", range(8), HOUR_MS)
    second = a_job(3, gpus=6)
    driver.submit(second)
    keep(driver, second, "n1", range(6), HOUR_MS)
    facts = driver.end(a_job(1, gpus=4))
    assert [f.job_id for f in facts if isinstance(f, PlaceGivenUp)] == [second.job_id]
    assert list(placed(facts)) == [large.job_id]
