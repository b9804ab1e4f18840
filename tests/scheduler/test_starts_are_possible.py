"""Is a job ever expected to begin earlier than it can?"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_contracts.jobs import JobSpec
from penstock_scheduler.core.queue.starts import expected_start_ms
from tests.scheduler.driver import SECOND_NS, Driver, a_job, a_node
from tests.scheduler.test_pools import obey, one_pool

MODELS = ("H100", "L4")
LIMITS_S = st.integers(5, 90)
STEPS_MAX = 400
END_S = 2
"""From the end of the work to the proof that its devices are free, as it is reckoned with."""

fleets = st.lists(st.tuples(st.integers(1, 4), st.sampled_from(MODELS)), min_size=1, max_size=4)
demands = st.tuples(st.integers(1, 3), st.integers(1, 2), st.sampled_from(((), *zip(MODELS))))
work = st.lists(st.tuples(demands, LIMITS_S), min_size=1, max_size=6)


def job_of(number: int, demand: tuple[int, int, Any], limit_s: int) -> JobSpec:
    gpus, ranks, models = demand
    return a_job(
        number, gpus=gpus, ranks=ranks, gpu_models=models, cpu_milli=100, time_limit_s=limit_s
    )


class Day(Driver):
    """A driver in which whatever runs ends just when its limit is over."""

    def __init__(self, fleet: list[tuple[int, str]]) -> None:
        super().__init__(*(a_node(f"n{i}", n, model) for i, (n, model) in enumerate(fleet)))
        self.specs: dict[str, JobSpec] = {}
        obey(self, one_pool(order="skip", preempt="none"))

    def add(self, *jobs: JobSpec) -> None:
        self.specs.update({job.job_id: job for job in jobs})
        self.submit(*jobs)
        self.begin()

    def begin(self) -> None:
        for job_id, job in list(self.core.state.jobs.items()):
            if job.state == "placed":
                self.start(self.specs[job_id])

    def pass_a_second(self) -> None:
        self.now_ns += SECOND_NS
        now_ms = self.now_ns // 1_000_000
        for job_id, job in list(self.core.state.jobs.items()):
            limit_s = (job.spec.time_limit_s or 0) + END_S
            if job.started_ms is not None and now_ms >= job.started_ms + 1000 * limit_s:
                for rank in range(job.spec.ranks):
                    self.end(self.specs[job_id], rank)
        self.tick(0)
        self.begin()

    def waits_s(self, job: JobSpec) -> int | None:
        """In how many seconds the job begins; None = not within the time of the test."""
        for second in range(STEPS_MAX):
            live = self.core.state.jobs.get(job.job_id)
            if live is None or live.state != "queued":
                return second
            self.pass_a_second()
        return None

    def expected_s(self, job: JobSpec) -> float | None:
        live = self.core.state.jobs[job.job_id]
        start_ms = expected_start_ms(self.core.state, live, self.now_ns)
        return None if start_ms is None else (start_ms - self.now_ns // 1_000_000) / 1000


@settings(max_examples=60, deadline=None)
@given(fleet=fleets, busy=work, demand=demands, age_s=st.integers(0, 4))
def test_a_job_alone_in_line_is_expected_just_when_it_begins(
    fleet: list[tuple[int, str]], busy: list[Any], demand: Any, age_s: int
) -> None:
    day = Day(fleet)
    day.add(*(job_of(number + 2, *one) for number, one in enumerate(busy)))
    for _ in range(age_s):
        day.pass_a_second()
    for job_id, job in list(day.core.state.jobs.items()):
        if job.state == "queued":
            day.cancel(day.specs[job_id])
    job = job_of(1, demand, 60)
    day.submit(job)
    day.specs[job.job_id] = job
    if job.job_id not in day.core.state.jobs or day.core.state.jobs[job.job_id].ranks:
        return  # it can never run there, or at once
    expected_s, came_s = day.expected_s(job), day.waits_s(job)
    assert expected_s is not None and came_s is not None
    assert abs(expected_s - came_s) <= 2, "not earlier than it can, and no later than it must"


@settings(max_examples=40, deadline=None)
@given(fleet=fleets, busy=work, ahead=work, demand=demands)
def test_whoever_is_behind_others_is_never_expected_before_it_could_begin_alone(
    fleet: list[tuple[int, str]], busy: list[Any], ahead: list[Any], demand: Any
) -> None:
    alone, behind = Day(fleet), Day(fleet)
    running = [job_of(number + 2, *one) for number, one in enumerate(busy)]
    for day in (alone, behind):
        day.add(*running)
        for job_id, job in list(day.core.state.jobs.items()):
            if job.state == "queued":
                day.cancel(day.specs[job_id])
    behind.add(*(job_of(number + 20, *one) for number, one in enumerate(ahead)))
    job = job_of(1, demand, 60)
    for day in (alone, behind):
        day.submit(job)
        day.specs[job.job_id] = job
    live = behind.core.state.jobs.get(job.job_id)
    if live is None or live.ranks or job.job_id not in alone.core.state.jobs:
        return
    expected_s, possible_s = behind.expected_s(job), alone.waits_s(job)
    assert possible_s is not None
    assert expected_s is None or expected_s >= possible_s - 2
