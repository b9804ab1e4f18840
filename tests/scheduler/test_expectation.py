"""Does the scheduler expect what it has seen, or what an operator says, and only that?"""

from __future__ import annotations

import msgspec
import pytest

from penstock_contracts.expectations import ExpectedShape, WorkloadExpected
from penstock_contracts.journal import JobRejected, LeaseGranted
from penstock_contracts.nodes import NodeRegistered
from penstock_scheduler.core.events import ExpectationOffered, JobsRequested, NodeChanged
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.packing.popularity import LEARN_FIRST, PRIOR
from penstock_scheduler.core.packing.shapes import RowKey
from penstock_scheduler.core.placing.expectation import FACT_BYTES_MAX, Expectation
from penstock_scheduler.core.state import shape_of
from tests.scheduler.driver import Driver, a_job, a_node

GIVEN = (ExpectedShape(4_000, 1, 500, 0, ("H100",), 3), ExpectedShape(1_000, 1, 1000, 0, (), 2))


def facts_of(driver: Driver) -> list[WorkloadExpected]:
    return [fact for fact in driver.facts if isinstance(fact, WorkloadExpected)]


def seen(driver: Driver) -> dict[RowKey, int]:
    return driver.core.state.expectation.popularity.counts


def test_a_new_mesh_begins_with_a_guess_and_learns_after_a_few_jobs() -> None:
    driver = Driver(a_node(gpus=8))
    driver.feed(ExpectationOffered())
    (guess,) = facts_of(driver)
    assert len(guess.shapes) == len(PRIOR)
    assert guess.devices == {"H100": 8}
    for number in range(LEARN_FIRST):
        driver.submit(a_job(number, gpus=1, gpu_milli=370, cpu_milli=1_500))
    learned = facts_of(driver)[-1]
    assert ExpectedShape(1_500, 1, 370, 0, (), LEARN_FIRST * 64) in learned.shapes
    assert not learned.given
    assert driver.core.state.capacity.packer.workload.counts == tuple(
        (RowKey(*msgspec.structs.astuple(shape)[:5]), shape.count) for shape in learned.shapes
    )


def test_what_was_learned_is_said_before_the_job_that_taught_it_is_placed() -> None:
    driver = Driver(a_node(gpus=8))
    for number in range(LEARN_FIRST):
        facts = driver.submit(a_job(number, gpus=1, gpu_milli=1))
    kinds = [type(fact) for fact in facts]
    assert kinds.index(WorkloadExpected) < kinds.index(LeaseGranted)


def test_jobs_that_found_no_room_count_once_more() -> None:
    driver = Driver(a_node(gpus=1))
    driver.submit(a_job(1, gpus=1))
    for number in range(2, LEARN_FIRST + 1):
        driver.now_ns += 1
        driver.submit(a_job(number, gpus=1))
    (learned,) = facts_of(driver)
    (whole,) = [shape for shape in learned.shapes if shape.cpu_milli == 100]
    waited = LEARN_FIRST - 2  # all but the one that runs and the one that has just come
    assert whole.count == 64 * (LEARN_FIRST + waited)


def test_every_rank_of_a_gang_counts() -> None:
    driver = Driver(a_node(gpus=8))
    driver.submit(a_job(1, gpus=2, ranks=3))
    assert seen(driver)[RowKey(100, 2, 1000, 0, ())] == 3 * 64


def test_a_job_that_can_run_nowhere_is_no_guide() -> None:
    driver = Driver(a_node(gpus=8))
    before = dict(seen(driver))
    facts = driver.submit(a_job(1, gpus=9))
    assert any(isinstance(fact, JobRejected) for fact in facts)
    assert seen(driver) == before


def test_what_is_given_stands_until_it_is_given_no_more() -> None:
    driver = Driver(a_node(gpus=8))
    driver.feed(ExpectationOffered())
    driver.feed(ExpectationOffered(GIVEN))
    assert facts_of(driver)[-1].given
    assert {shape.count for shape in facts_of(driver)[-1].shapes} == {2, 3}
    driver.feed(ExpectationOffered(GIVEN))
    for number in range(2 * LEARN_FIRST):
        driver.submit(a_job(number, gpus=1, gpu_milli=1))
    assert len(facts_of(driver)) == 2, "it is told once, and nothing learned replaces it"
    driver.feed(ExpectationOffered())
    learned = facts_of(driver)[-1]
    assert not learned.given
    assert any(shape.gpu_milli == 1 for shape in learned.shapes), "what was seen meanwhile counts"
    driver.feed(ExpectationOffered())
    assert len(facts_of(driver)) == 3


def test_prices_follow_the_fleet() -> None:
    driver = Driver(a_node("n1", gpus=8), a_node("n2", gpus=8, model="L4"))
    driver.feed(ExpectationOffered(GIVEN))
    (before,) = facts_of(driver)
    driver.feed(NodeChanged(NodeRegistered(a_node("n3", gpus=8))))
    driver.feed(ExpectationOffered(GIVEN))
    after = facts_of(driver)[-1]
    assert after.devices == {"H100": 16, "L4": 8}
    assert after.prices["H100"] < before.prices["H100"]


@pytest.mark.parametrize("offered", [None, GIVEN])
def test_a_snapshot_carries_what_was_seen_and_what_stands(offered: object) -> None:
    driver = Driver(a_node(gpus=2))
    driver.feed(ExpectationOffered(offered))
    for number in range(LEARN_FIRST + 5):
        driver.submit(a_job(number, gpus=1, gpu_milli=300 + number % 3))
    other = SchedulerCore()
    other.restore(driver.core.snapshot())
    assert other.snapshot() == driver.core.snapshot()
    assert other.state.capacity.packer.workload == driver.core.state.capacity.packer.workload


def test_a_snapshot_of_before_there_was_an_expectation_is_read() -> None:
    driver = Driver(a_node(gpus=2))
    old = msgspec.json.decode(driver.core.snapshot())
    del old["expected"]
    core = SchedulerCore()
    core.restore(msgspec.json.encode(old))
    assert core.state.expectation.fact is None
    assert core.state.expectation.popularity.counts == Expectation().popularity.counts


def test_a_fact_is_small_whatever_is_asked_for() -> None:
    driver = Driver(a_node(gpus=8), a_node("n2", gpus=8, model="L4"))
    driver.core.state.fleet_changed_ns = driver.now_ns  # nothing is called impossible yet
    specs = [
        a_job(number, gpus=1, gpu_models=("H100", f"{number:0250}"), cpu_milli=number)
        for number in range(2_000)
    ]
    for batch in range(0, 2_000, 500):
        event = JobsRequested("acme", 1 + batch, tuple(specs[batch : batch + 500]))
        for fact in driver.core.decide(event, driver.now_ns, 9):
            driver.core.apply(fact, 9, driver.now_ns)
    driver.feed(ExpectationOffered())
    fact = facts_of(driver)[-1]
    assert len(fact.shapes) > 100
    assert set(fact.prices) == {"H100"}
    assert len(msgspec.json.encode(fact)) < FACT_BYTES_MAX + 16_384


def test_a_shape_that_names_very_many_models_counts_as_one_that_takes_any() -> None:
    expectation = Expectation()
    names = tuple(f"model-{number:0200}" for number in range(5))
    expectation.see(shape_of(a_job(1, gpus=1, gpu_models=names)))
    assert RowKey(100, 1, 1000, 0, ()) in expectation.popularity.counts
