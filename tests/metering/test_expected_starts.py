"""Is it told afterwards when a job was expected to start?"""

from __future__ import annotations

from metering.conftest import Ledger
from metering.world import Job, World
from penstock_contracts.journal import AttemptEnded, StartExpected, StartsExpected


def waits(world: World) -> Job:
    world.a_node("n1", gpus=1)
    return world.submit(tenant="acme")


def expect(world: World, job: Job, in_ms: int | None, attempt: int = 1) -> int:
    """Says when the attempt is expected to start; returns when that was said."""
    start_ms = None if in_ms is None else world.now_ms + in_ms
    world.journal("JOBS", StartsExpected((StartExpected(job.job_id, attempt, start_ms),)))
    return world.now_ms


def told(ledger: Ledger, world: World, job: Job) -> tuple[int | None, int | None, int | None]:
    ledger.take_all(world)
    view = ledger.library.job(job.job_id)
    assert view is not None
    return view.expected_ms, view.estimated_ms, view.placed_ms


def run(world: World, job: Job) -> None:
    world.grant(job, ("n1", ("SIM-n1-0",)))
    world.finish(job)
    world.release(job)


def test_what_was_said_of_a_start_is_kept_beside_when_it_was(ledger: Ledger, world: World) -> None:
    job = waits(world)
    said_ms = expect(world, job, 60_000)
    world.pass_ms(70_000)
    run(world, job)
    assert told(ledger, world, job) == (said_ms + 60_000, said_ms, said_ms + 70_000)


def test_that_nobody_could_say_is_kept_too(ledger: Ledger, world: World) -> None:
    job = waits(world)
    said_ms = expect(world, job, None)
    assert told(ledger, world, job) == (None, said_ms, None)


def test_what_was_said_of_one_attempt_is_not_told_of_the_next(ledger: Ledger, world: World) -> None:
    job = waits(world)
    expect(world, job, 60_000)
    world.grant(job, ("n1", ("SIM-n1-0",)))
    world.journal("JOBS", AttemptEnded(job.job_id, 1, "lost"))
    world.release(job)
    assert told(ledger, world, job)[:2] == (None, None)
    said_ms = expect(world, job, 5_000, attempt=2)
    run(world, job)
    assert told(ledger, world, job)[:2] == (said_ms + 5_000, said_ms)


def test_what_is_said_of_a_job_that_is_not_known_or_runs_changes_nothing(
    ledger: Ledger, world: World
) -> None:
    job = waits(world)
    world.grant(job, ("n1", ("SIM-n1-0",)))
    expect(world, job, 1)
    expect(world, Job("01ARZ3NDEKTSV4RRFFQ69G5FAV", "acme", job.spec), 1)
    assert told(ledger, world, job)[:2] == (None, None)
