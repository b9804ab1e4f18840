"""Do jobs come, wait, yield and end in a simulated queue as its policy says?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.queue_policy import Quota
from penstock_scheduler.simulate.queue_jobs import BEGIN_MS, Fleet, TraceJob
from penstock_scheduler.simulate.queue_policies import NAMES, knows, named
from penstock_scheduler.simulate.queue_shares import divided
from penstock_scheduler.simulate.queue_world import Play, Story, play
from tests.scheduler.driver import a_node

SECOND_MS = 1000


def a_trace(*jobs: tuple[int, int, int], **spec: Any) -> tuple[TraceJob, ...]:
    """(arrival, duration, GPUs), in seconds."""
    return tuple(
        TraceJob(
            JobSpec(
                job_id=ulid(BEGIN_MS + 1000 * came_s, number),
                command=("trace",),
                ranks=gpus,
                gpus=1,
                **spec,
            ),
            spec.get("project") or "ann",
            1000 * came_s,
            1000 * took_s,
        )
        for number, (came_s, took_s, gpus) in enumerate(jobs)
    )


def a_story(name: str, *jobs: tuple[int, int, int], **options: Any) -> Story:
    """What came of the jobs on a node with four GPUs."""
    policy = named(name, preempt=options.pop("preempt", False))
    how = Play(SECOND_MS, options.pop("restart_s", 0) * SECOND_MS, knows(name))
    fleet = Fleet("f", (a_node(gpus=4),), a_trace(*jobs, **options))
    return play(fleet, policy, how, lambda done: None)


def waits_s(story: Story) -> list[float]:
    """In the order of the trace."""
    ordered = sorted(story.done, key=lambda one: (one.completed_ms - one.queued_ms, one.queued_ms))
    return [one.queued_ms / SECOND_MS for one in ordered]


def mean_s(story: Story) -> float:
    return sum(one.queued_ms for one in story.done) / SECOND_MS / len(story.done)


LONG_FIRST = ((0, 100, 4), (1, 50, 4), (2, 10, 4))


def test_in_strict_order_each_waits_for_all_before_it() -> None:
    story = a_story("fifo", *LONG_FIRST)
    assert waits_s(story) == [148.0, 99.0, 0.0]
    assert story.makespan_ms == 160 * SECOND_MS


def test_an_oracle_has_the_shortest_go_first() -> None:
    assert waits_s(a_story("sjf", *LONG_FIRST)) == [98.0, 109.0, 0.0]


def test_a_job_that_does_not_fit_holds_up_all_in_strict_order_and_none_where_others_may_pass() -> (
    None
):
    jobs = ((0, 100, 3), (1, 10, 4), (2, 5, 1))
    assert waits_s(a_story("fifo", *jobs))[0] == 108.0
    assert waits_s(a_story("skip", *jobs))[0] == 0.0


@pytest.mark.parametrize("name", sorted(NAMES))
def test_under_every_policy_all_jobs_end_and_nothing_is_held_beyond_the_work(name: str) -> None:
    jobs = tuple((7 * n % 50, 1 + n * n % 40, 1 + n % 4) for n in range(60))
    story = a_story(name, *sorted(jobs))
    assert len(story.done) == 60
    assert story.refused == 0
    assert story.held_milli_ms == sum(1_000_000 * took * gpus for _, took, gpus in jobs)
    assert all(one.queued_ms >= 0 for one in story.done)


def teaching(count: int = 8) -> list[tuple[int, int, int]]:
    """Short ones of one GPU, so that it is known how long they take, and long ones of four."""
    short = [(20 * n, 10, 1) for n in range(count)]
    long = [(200 + 1_100 * n, 1_000, 4) for n in range(count)]
    return short + long


def test_what_is_soon_done_makes_what_goes_on_for_long_yield_and_nothing_saved_is_lost() -> None:
    jobs = (*teaching(), (10_000, 1_000, 4), (10_100, 10, 1))
    calm = a_story("penstock", *jobs, checkpoint_signal="SIGTERM")
    keen = a_story("penstock", *jobs, preempt=True, checkpoint_signal="SIGTERM")
    assert sum(one.yielded for one in calm.done) == 0
    assert sum(one.yielded for one in keen.done) == 1
    assert sum(one.lost_ms for one in keen.done) == 0
    assert mean_s(keen) < mean_s(calm) / 5


def test_what_a_job_needs_to_work_on_is_lost_when_it_has_yielded() -> None:
    jobs = (*teaching(), (10_000, 1_000, 4), (10_100, 10, 1))
    story = a_story("penstock", *jobs, preempt=True, checkpoint_signal="SIGTERM", restart_s=30)
    assert sum(one.lost_ms for one in story.done) == 30 * SECOND_MS


def test_work_that_was_not_saved_is_done_again() -> None:
    jobs = (*teaching(), (10_000, 1_000, 4), (10_050, 10, 1))
    story = a_story("penstock", *jobs, preempt=True)
    lost_ms = sum(one.lost_ms for one in story.done)
    assert sum(one.yielded for one in story.done) == 1
    assert 50 * SECOND_MS <= lost_ms <= 60 * SECOND_MS
    assert story.held_milli_ms == sum(
        one.gpu_milli * (one.worked_ms + one.lost_ms) for one in story.done
    )


def test_the_same_trace_tells_the_same_story() -> None:
    jobs = tuple(sorted((11 * n % 300, 1 + n * n % 90, 1 + n % 4) for n in range(80)))
    options: dict[str, Any] = {"preempt": True, "checkpoint_s": 5}
    assert a_story("penstock", *jobs, **options) == a_story("penstock", *jobs, **options)


def test_a_fleet_is_divided_by_guarantee_then_by_weight_and_never_beyond_what_is_wanted() -> None:
    wanted = {"a": 10_000, "b": 500, "c": 10_000}
    fair = divided(4_000, wanted, {"a": 2_000, "b": 0, "c": 0}, {"a": 1, "b": 1, "c": 2})
    assert fair == {"a": 2_500.0, "b": 500.0, "c": 1_000.0}


def test_of_two_tenants_one_with_a_guarantee_is_told_how_far_it_was_from_its_share() -> None:
    policy = named("tiered", preempt=False)
    quotas = (
        Quota(name="a", pool="default", tenant="a", guaranteed_gpu_milli=2_000),
        Quota(name="b", pool="default", tenant="b", guaranteed_gpu_milli=2_000),
    )
    both = [a_trace(*((n, 50, 1) for n in range(40)), project=name) for name in ("a", "b")]
    jobs = [job._replace(spec=_moved(job.spec, n)) for n, job in enumerate(sum(both, ()))]
    fleet = Fleet("f", (a_node(gpus=4),), tuple(sorted(jobs, key=lambda job: job.arrival_ms)))
    story = play(
        fleet, msgspec.structs.replace(policy, quotas=quotas), Play(SECOND_MS), lambda done: None
    )
    assert set(story.share_error) == {"a", "b"}
    assert all(abs(error) < 5 for error in story.share_error.values())


def _moved(spec: JobSpec, number: int) -> JobSpec:
    return msgspec.structs.replace(spec, job_id=ulid(BEGIN_MS, number), project="")
