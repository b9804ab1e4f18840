"""Is it seen who holds a stream up, and does it go on when that reader is given up?"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from metering.conftest import Ledger
from metering.mesh import Mesh, running
from metering.test_service import metered_bus, real, twin
from metering.world import World
from penstock_bus.port import Bus
from penstock_contracts.streams import READERS
from penstock_mesh.readers import NotDroppable, ReaderView, choose, drop, list_readers
from penstock_metering.housekeeping import Housekeeper
from penstock_metering.progress import Progress
from penstock_runtime.clock import SystemClock
from penstock_runtime.cursors import publish_cursor
from penstock_runtime.keeping import Keeper

__all__ = ["metered_bus", "real", "twin"]


async def the_readers(bus: Bus) -> dict[tuple[str, str], ReaderView]:
    return {(view.stream, view.reader): view for view in await list_readers(bus, time.time_ns())}


def a_keeper(bus: Bus) -> Keeper:
    """What purges JOBS in the scheduler's process, which has a snapshot of everything."""
    return Keeper(
        bus, service="scheduler", journal="JOBS", inputs=[], owns=["JOBS"], readers=READERS,
        clock=SystemClock(), snapshot_every=1,
    )  # fmt: skip


async def test_a_stream_held_up_by_a_reader_that_is_gone_is_freed_and_it_states_its_gap(
    metered_bus: Bus, ledger: Ledger, eventually: Any
) -> None:
    world = World()
    agent = world.a_node(gpus=1)
    mesh = Mesh(metered_bus, world, ledger)
    async with running(mesh):
        await asyncio.wait_for(mesh.metering.progress.reach("NODES", 1), 10)
    for _ in range(5):
        world.a_run("n1", agent.devices)
        agent.send()
    await mesh.feed()
    jobs, usage = len(world.streams["JOBS"]), len(world.streams["USAGE"])
    for reader in ("scheduler", "facts"):
        await publish_cursor(metered_bus, "JOBS", reader, jobs)
    keeper = a_keeper(metered_bus)
    for seq in (jobs, jobs + 1):  # the purge goes by the older of two
        await keeper.store.write(
            b"{}", seq=seq, term=1, now_ns=1, cursors={}, marks={}, before_seq=0
        )
    await keeper.tidy()
    await Housekeeper(metered_bus, Progress(), mesh.metering._confirm).purge()
    view = (await the_readers(metered_bus))["JOBS", "metering"]
    assert (view.behind, view.last_seq, view.dropped) == (jobs, jobs, False)
    assert view.held_bytes > 0
    assert view.oldest_age_s is not None

    await drop(metered_bus, choose(await list_readers(metered_bus, 0), "metering", None))
    await keeper.tidy()
    views = await the_readers(metered_bus)
    assert views["JOBS", "metering"].dropped
    assert views["JOBS", "metering"].behind == views["JOBS", "metering"].held_bytes == 0
    assert (await metered_bus.stream_state("JOBS")).messages == 0
    assert (await metered_bus.stream_state("USAGE")).messages == 0

    later = world.a_run("n1", agent.devices)
    agent.send()
    successor = Mesh(metered_bus, world, ledger)
    successor._fed = mesh._fed
    async with running(successor):
        said = await successor.audit()
        metrics = {m.name: m.value for m in successor.metering.metrics() if not m.labels}
        await eventually(lambda: not_dropped(metered_bus))
    assert [finding.sentence.split(":")[0] for finding in said.findings] == [
        f"JOBS 1 to {jobs} are missing",
        f"USAGE 1 to {usage} are missing",
    ]
    assert metrics["penstock_metering_gaps"] == 2
    view_of_later = ledger.library.job(later.job_id)
    assert view_of_later is not None
    assert (view_of_later.state, view_of_later.gpu_milli_ms) == ("succeeded", 1_000_000)


async def not_dropped(bus: Bus) -> bool:
    return not any(view.dropped for view in (await the_readers(bus)).values())


async def test_only_a_reader_that_can_begin_anew_is_dropped(metered_bus: Bus) -> None:
    views = await list_readers(metered_bus, 0)
    with pytest.raises(NotDroppable, match="the mesh stands still without scheduler"):
        choose(views, "scheduler", None)
    with pytest.raises(NotDroppable, match="no reader is called nobody; there are facts, inv"):
        choose(views, "nobody", None)
    with pytest.raises(NotDroppable, match="metering does not read REQUESTS"):
        choose(views, "metering", "REQUESTS")
    assert [view.stream for view in choose(views, "metering", "NODES")] == ["NODES"]


async def test_an_unread_stream_and_one_without_a_word_are_shown_as_such(metered_bus: Bus) -> None:
    views = await the_readers(metered_bus)
    assert list(views) == [(s, reader) for s, readers in READERS.items() for reader in readers]
    assert {view.cursor for view in views.values()} == {None}
    assert {view.oldest_age_s for view in views.values()} == {None}
