"""Does a trace grow while its job runs?"""

from __future__ import annotations

import pytest

from metering.test_spans import decode
from metering.world import Job, World
from penstock_contracts.journal import AttemptPreparing
from penstock_metering.core.spans import ROOT_PHASE, SpanFold

HOUR_MS = 3_600_000


class Follower:
    """Reads on from where it stands, as the follower of JOBS does."""

    def __init__(self, world: World) -> None:
        self.world, self.fold, self.read = world, SpanFold(), 0

    def news(self) -> list[str]:
        """The spans that have ended since the last time."""
        fresh = self.world.streams["JOBS"][self.read :]
        self.read += len(fresh)
        entries = [entry for message in fresh if (entry := decode(message)) is not None]
        spans = (self.fold.apply(entry.seq, entry.now_ns, entry.facts) for entry in entries)
        return [span.phase for ended in spans for span in ended]


def a_long_run(world: World) -> tuple[Follower, Job]:
    agent = world.a_node(gpus=1)
    job = world.submit()
    world.pass_ms(HOUR_MS)
    world.grant(job, ("n1", agent.devices))
    return Follower(world), job


@pytest.mark.lesson(26)
def test_each_phase_of_a_long_run_is_told_when_it_ends_and_not_with_the_job(world: World) -> None:
    follower, job = a_long_run(world)
    assert follower.news() == ["queue"]
    world.journal("JOBS", AttemptPreparing(job.job_id, 1, world.now_ms))
    assert follower.news() == ["place"]
    world.pass_ms(HOUR_MS)
    world.start(job)
    assert follower.news() == ["prepare"]
    world.pass_ms(1_000 * HOUR_MS)
    world.cut(job)
    assert follower.news() == [], "it still executes"
    world.exit(job)
    assert follower.news() == ["execute"]
    world.release(job)
    world.finish(job)
    assert follower.news() == ["settle", ROOT_PHASE]
