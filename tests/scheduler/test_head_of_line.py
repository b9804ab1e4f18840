"""Whom does a job hold back that does not fit?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_contracts.journal import LeaseGranted
from penstock_scheduler.core.placing.placement import place
from penstock_scheduler.core.queue.order import Place
from penstock_scheduler.core.state import Shape
from tests.scheduler.driver import Driver, a_job, a_node

DEMANDS = st.fixed_dictionaries(
    {
        "gpus": st.integers(0, 8),
        "ranks": st.integers(1, 4),
        "priority": st.integers(0, 9),
        "cpu_milli": st.sampled_from([None, 1_000, 40_000]),
    }
)


@pytest.mark.lesson(15)
@settings(max_examples=200, deadline=None)
@given(st.lists(DEMANDS, min_size=1, max_size=25), st.data())
def test_a_job_waits_only_when_it_does_not_fit(demands: list[dict], data: st.DataObject) -> None:
    driver = Driver(a_node("n1", 4), a_node("n2", 8), a_node("n3", 2))
    for number, demand in enumerate(demands, 1):
        driver.submit(a_job(number, **demand))
        if driver.core.state.leases and data.draw(st.booleans()):
            leases = sorted(driver.core.state.leases.values(), key=lambda lease: lease.id)
            lease = data.draw(st.sampled_from(leases))
            driver.cancel(driver.core.state.jobs[lease.job_id].spec)
        state = driver.core.state
        for shape in state.line.shapes():
            if state.line.jobs_of(shape):
                placed = place(shape, state.nodes, state.capacity)
                assert placed is None, "it fits, and waits all the same"


@pytest.mark.lesson(15)
def test_a_large_job_that_waits_lets_small_ones_pass_and_evicts_nobody() -> None:
    driver = Driver(a_node("n1", 8), a_node("n2", 8))
    running = [a_job(number, gpus=1) for number in range(1, 9)]
    driver.submit(*running)
    for job in running:
        driver.start(job)
    large = a_job(50, gpus=8, ranks=2, priority=9)
    driver.submit(large)
    small = [a_job(60 + number, gpus=1, priority=0) for number in range(8)]
    facts = driver.submit(*small)
    assert len([fact for fact in facts if isinstance(fact, LeaseGranted)]) == 8
    driver.tick(3_600)
    states = {job.job_id: driver.core.state.jobs[job.job_id].state for job in [*running, large]}
    assert set(states.values()) == {"running", "queued"}
    assert states[large.job_id] == "queued"


def test_a_release_has_only_those_looked_at_again_whom_it_may_help() -> None:
    driver = Driver(a_node("n1", 4))
    running, four, gang = a_job(1, gpus=1), a_job(3, gpus=4), a_job(4, gpus=1, ranks=2)
    driver.submit(running, a_job(2, gpus=3), four, gang, a_job(5, gpus=2, ranks=2))
    driver.start(running)
    asked: list[Shape] = []
    line = driver.core.state.line
    first = line.first

    def noting(now_ns: int) -> tuple[Place, Shape] | None:
        found = first(now_ns)
        if found is not None:
            asked.append(found[1])
        return found

    line.first = noting
    driver.end(running)
    assert asked == [driver.core.state.shape_in_line("acme", gang)], (
        "one free GPU is no help to a rank of more"
    )
