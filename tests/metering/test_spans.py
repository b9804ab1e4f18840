"""Which spans follow from a job's facts?"""

from __future__ import annotations

from itertools import pairwise

import pytest

from metering.world import World
from penstock_contracts.errors import Refusal
from penstock_contracts.journal import JobFact, JobRejected
from penstock_metering.core.spans import PHASES, ROOT_PHASE, SpanFold, SpanRecord
from penstock_runtime.entries import entry_decoder

decode = entry_decoder(JobFact)


def derive(world: World, fold: SpanFold | None = None, after_seq: int = 0) -> list[SpanRecord]:
    fold = fold or SpanFold()
    spans: list[SpanRecord] = []
    for message in world.streams["JOBS"][after_seq:]:
        entry = decode(message)
        assert entry is not None
        spans += fold.apply(entry.seq, entry.now_ns, entry.facts)
    return spans


def names(spans: list[SpanRecord]) -> list[tuple[int, str]]:
    return [(span.attempt, span.phase) for span in spans]


def check_contiguous(spans: list[SpanRecord]) -> None:
    """The root comes last and spans all others; phases of an attempt follow one another."""
    *phases, root = spans
    assert root.phase == ROOT_PHASE
    assert root.start_ns == min(span.start_ns for span in phases)
    assert root.end_ns >= max(span.end_ns for span in phases)
    for number in {span.attempt for span in phases}:
        own = [span for span in phases if span.attempt == number]
        assert all(a.end_ns == b.start_ns for a, b in pairwise(own))


@pytest.mark.lesson(26)
def test_a_job_has_five_phases_and_then_its_root(world: World) -> None:
    agent = world.a_node(gpus=1)
    job = world.submit(name="train")
    world.pass_ms(10)
    world.grant(job, ("n1", agent.devices))
    world.pass_ms(20)
    world.start(job)
    world.pass_ms(400)
    world.exit(job, code=7)
    world.pass_ms(30)
    world.release(job)
    world.finish(job, "failed", 7)
    spans = derive(world)
    assert names(spans) == [*((1, phase) for phase in PHASES), (0, ROOT_PHASE)]
    check_contiguous(spans)
    assert [(s.end_ns - s.start_ns) // 1_000_000 for s in spans] == [10, 20, 0, 400, 30, 460]
    execute, root = spans[3], spans[5]
    assert execute.attributes["process.exit.code"] == 7
    assert execute.attributes["penstock.nodes"] == "n1"
    assert root.attributes["cicd.pipeline.result"] == "failure"
    assert root.attributes["cicd.pipeline.name"] == "train"
    assert (execute.failed, root.failed) == (True, True)


def test_the_root_waits_until_everything_is_released(world: World) -> None:
    agent = world.a_node(gpus=1)
    job = world.submit()
    world.grant(job, ("n1", agent.devices))
    world.start(job)
    world.exit(job)
    world.finish(job)
    assert ROOT_PHASE not in {span.phase for span in derive(world)}
    world.pass_ms(1_000)
    world.release(job)
    spans = derive(world)
    assert names(spans)[-2:] == [(1, "settle"), (0, ROOT_PHASE)]
    check_contiguous(spans)


def test_a_second_attempt_has_phases_of_its_own_in_the_same_trace(world: World) -> None:
    agent = world.a_node(gpus=1)
    job = world.submit()
    world.grant(job, ("n1", agent.devices))
    world.start(job)
    world.pass_ms(100)
    world.release(job, "new_boot", said=False)
    world.lose(job)
    world.pass_ms(50)
    world.grant(job, ("n1", agent.devices))
    world.start(job)
    world.pass_ms(100)
    world.exit(job)
    world.release(job)
    world.finish(job)
    spans = derive(world)
    expected = [(number, phase) for number in (1, 2) for phase in PHASES]
    assert sorted(names(spans[:-1])) == sorted(expected)
    check_contiguous(spans)


def test_a_job_cancelled_in_the_queue_has_waited_and_nothing_else(world: World) -> None:
    job = world.submit()
    world.pass_ms(10)
    world.finish(job, "cancelled", None)
    spans = derive(world)
    assert names(spans) == [(1, "queue"), (0, ROOT_PHASE)]
    assert spans[-1].attributes["cicd.pipeline.result"] == "cancellation"


def test_a_rejected_job_is_skipped(world: World) -> None:
    job = world.submit()
    world.journal("JOBS", JobRejected(job.job_id, Refusal("impossible", "never fits")))
    spans = derive(world)
    assert names(spans) == [(1, "queue"), (0, ROOT_PHASE)]
    assert spans[-1].attributes["cicd.pipeline.result"] == "skip"


def test_a_gang_settles_when_its_last_rank_is_gone(world: World) -> None:
    for name in ("n1", "n2"):
        world.a_node(name, gpus=1)
    job = world.submit(ranks=2)
    world.grant(job, ("n1", ("SIM-n1-0",)), ("n2", ("SIM-n2-0",)))
    world.start(job)
    world.pass_ms(100)
    world.exit(job)
    world.release(job)
    world.finish(job)
    spans = derive(world)
    assert names(spans) == [*((1, phase) for phase in PHASES), (0, ROOT_PHASE)]
    assert spans[3].attributes["penstock.nodes"] == "n1,n2"


def test_reading_again_gives_the_same_spans(world: World) -> None:
    agent = world.a_node(gpus=1)
    for _ in range(3):
        world.a_run("n1", agent.devices)
    assert derive(world) == derive(world)


def test_the_past_is_needed_from_the_oldest_job_that_is_not_over(world: World) -> None:
    agent = world.a_node(gpus=1)
    fold = SpanFold()
    world.a_run("n1", agent.devices)
    derive(world, fold)
    assert fold.needed_from_seq is None
    seq = len(world.streams["JOBS"])
    job = world.submit()
    world.a_run("n1", agent.devices)
    derive(world, fold, seq)
    assert fold.needed_from_seq == seq + 1
    resumed = SpanFold()
    world.finish(job, "cancelled", None)
    assert names(derive(world, resumed, seq))[-2:] == [(1, "queue"), (0, ROOT_PHASE)]


def test_a_job_whose_beginning_is_gone_has_no_trace(world: World) -> None:
    job = world.submit()
    world.finish(job, "cancelled", None)
    assert derive(world, after_seq=1) == []
