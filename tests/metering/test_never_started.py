"""Is anything billed for work that never ran?"""

from __future__ import annotations

import pytest

from metering.conftest import Ledger
from metering.world import Job, World
from penstock_contracts.journal import AttemptPreparing, RankExited
from penstock_contracts.queries import UsageQuery

DAY_MS = 24 * 3_600_000


def prepare_for_a_day(world: World) -> Job:
    """A gang of two holds its devices and prepares, all day long."""
    for name in ("n1", "n2"):
        world.a_node(name, gpus=1)
    job = world.submit(tenant="acme", ranks=2, gpus=1)
    world.grant(job, ("n1", ("SIM-n1-0",)), ("n2", ("SIM-n2-0",)))
    world.journal("JOBS", AttemptPreparing(job.job_id, 1, world.now_ms))
    world.pass_ms(DAY_MS)
    return job


def end_unrun(world: World, job: Job, reason: str) -> None:
    world.journal(
        "JOBS",
        *(
            RankExited(job_id=job.job_id, attempt=1, rank=rank, reason=reason, at_ms=world.now_ms)
            for rank in (0, 1)
        ),
    )
    world.release(job)
    world.finish(job, "failed", None)
    for agent in world.agents.values():
        agent.send()


@pytest.mark.lesson(22)
@pytest.mark.parametrize("reason", ["spawn_failed", "cancelled", "lost", "declined"])
def test_work_that_never_started_is_metered_as_held_and_costs_nothing(
    ledger: Ledger, world: World, reason: str
) -> None:
    job = prepare_for_a_day(world)
    end_unrun(world, job, reason)
    ledger.take_all(world)
    balance = ledger.balance(world)
    assert (balance.unaccounted_milli_ms, balance.findings) == (0, [])
    assert balance.milli_ms["sold"] == 0
    assert balance.milli_ms["held"] == 2 * DAY_MS * 1_000, "it is seen, and not billed"
    usage = ledger.library.usage(UsageQuery())
    assert usage.lines == ()
    view = ledger.library.job(job.job_id)
    assert view is not None
    assert (view.started_ms, view.gpu_milli_ms, view.cost_micro) == (None, 0, 0)


@pytest.mark.lesson(22)
def test_billing_begins_with_the_process_and_not_with_the_lease(
    ledger: Ledger, world: World
) -> None:
    job = prepare_for_a_day(world)
    world.start(job)
    world.pass_ms(1)
    world.exit(job)
    world.release(job)
    world.finish(job)
    for agent in world.agents.values():
        agent.send()
    ledger.take_all(world)
    assert ledger.balance(world).milli_ms["sold"] == 2 * 1_000
    (line,) = ledger.library.usage(UsageQuery()).lines
    assert line.quantity == 2 * 1_000
