"""When the ledger, or what it has not read yet, is lost: is it said, and does the rest go on?"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metering.conftest import Ledger, LedgerFactory
from metering.mesh import Mesh, prepare, running
from metering.test_ingest import a_busy_world, comparable
from metering.test_service import metered_bus, real, twin
from metering.world import World
from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.port import Bus, Message
from penstock_contracts.nodes import NodeView
from penstock_contracts.queries import Answer, JobQuery, JobView, NodesQuery, NodesView
from penstock_mesh.backup_ledger import copy_ledger
from penstock_metering import recall
from penstock_metering.housekeeping import Housekeeper
from penstock_metering.ledger.database import Database
from penstock_metering.ledger.fence import Superseded, Writer
from penstock_metering.ledger.ingest import Ingest, open_ledger
from penstock_metering.progress import Progress
from penstock_metering.threads import run_inline
from penstock_runtime.cursors import publish_cursor, read_cursors

__all__ = ["metered_bus", "real", "twin"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "LOOK_S", 0.02)


class Inventory:
    """Answers with the world's nodes as of the end of NODES, a few at a time."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh, self.asked = mesh, 0

    async def listen(self) -> None:
        await self.mesh.bus.subscribe("penstock.v1.query.inventory.nodes", self._answer)

    def _answer(self, message: Message) -> None:
        self.asked += 1
        after = msgspec.json.decode(message.payload, type=NodesQuery).after
        agents = [agent for name, agent in sorted(self.mesh.world.agents.items()) if name > after]
        views = tuple(
            NodeView(description=agent.describe().description, liveness="alive")
            for agent in agents[:1]
        )
        seq = len(self.mesh.world.streams["NODES"])
        view = NodesView(seq, views, more=len(agents) > 1)
        self.mesh.bus.respond_nowait(message, msgspec.json.encode(Answer(value=view)))


async def all_is_read(mesh: Mesh) -> None:
    for name, messages in mesh.world.streams.items():
        await asyncio.wait_for(mesh.metering.progress.reach(name, len(messages)), 10)


def codes(ledger: Ledger) -> list[str]:
    return [finding.code for finding in ledger.library.findings()]


async def test_a_lost_ledger_is_made_anew_of_streams_that_still_hold_everything(
    metered_bus: Bus, make_ledger: LedgerFactory
) -> None:
    world = a_busy_world()
    before, after = make_ledger(), make_ledger()
    async with running(Mesh(metered_bus, world, before)) as mesh:
        await all_is_read(mesh)
    successor = Mesh(metered_bus, world, after)
    successor._fed = mesh._fed
    async with running(successor):
        await all_is_read(successor)
    assert comparable(after) == comparable(before)
    assert codes(after) == []


async def test_a_lost_ledger_says_what_was_discarded_and_knows_the_nodes_from_inventory(
    metered_bus: Bus, ledger: Ledger, eventually: Any
) -> None:
    world = World()
    agents = [world.a_node(name, gpus=2) for name in ("n1", "n2", "n3")]
    world.a_run("n1", agents[0].devices)
    agents[0].send()
    mesh = Mesh(metered_bus, world, ledger)
    await mesh.feed()
    seen = {name: len(messages) for name, messages in world.streams.items()}
    for name, seq in seen.items():
        await metered_bus.purge(name, up_to_seq=seq)
    inventory = Inventory(mesh)
    await inventory.listen()
    later = world.a_run("n2", agents[1].devices, for_ms=3_000)
    for agent in agents:
        agent.send()
    async with running(mesh):
        await all_is_read(mesh)
        await eventually(lambda: not mesh.metering.ingest.lacks_nodes)
        said = await mesh.audit()
    assert [finding.sentence.split(":")[0] for finding in said.findings] == [
        f"{name} 1 to {seen[name]} are missing" for name in ("NODES", "JOBS", "USAGE")
    ]
    # The counters of n1 still know of the two GPUs' second that the ledger has lost.
    assert said.unaccounted_ms == 2 * 2_000
    assert said.device_milli_ms["sold"] == 2 * 3_000_000
    view = ledger.library.job(later.job_id)
    assert view is not None
    assert (view.state, view.gpu_milli_ms) == ("succeeded", 6_000_000)
    assert inventory.asked == 3
    successor = Mesh(metered_bus, world, ledger)
    successor._fed = mesh._fed
    async with running(successor):
        assert not successor.metering.ingest.lacks_nodes
        assert len((await successor.audit()).findings) == 3  # said once, and for ever


def a_housekeeper(bus: Bus, ingest: Ingest) -> Housekeeper:
    return Housekeeper(bus, Progress(), partial(run_inline, ingest.confirm))


def an_older_copy(ledger: Ledger, directory: Path) -> Ledger:
    """As an operator puts a copy from yesterday back."""
    copy_ledger(ledger.url, directory)
    return Ledger(directory)


async def test_an_older_copy_of_the_ledger_reads_on_from_where_it_was_made(
    metered_bus: Bus, sqlite: Ledger, tmp_path: Path, eventually: Any
) -> None:
    world = a_busy_world()
    mesh = Mesh(metered_bus, world, sqlite)
    async with running(mesh):
        await all_is_read(mesh)
        older = an_older_copy(sqlite, tmp_path)
        for agent in world.agents.values():
            world.a_run(agent.name, agent.devices)
            agent.send()
        await mesh.feed()
        await all_is_read(mesh)
    assert (await read_cursors(metered_bus))["JOBS.metering"] == len(world.streams["JOBS"])
    successor = Mesh(metered_bus, world, older)
    successor._fed = mesh._fed

    async with running(successor):
        await all_is_read(successor)
    assert comparable(older) == comparable(sqlite)
    assert codes(older) == []
    older.database.close()


async def test_what_an_older_copy_has_not_read_is_kept_for_it_from_its_first_word_on(
    metered_bus: Bus, ledger: Ledger
) -> None:
    await publish_cursor(metered_bus, "JOBS", "metering", 40)
    keeper = a_housekeeper(metered_bus, ledger.ingest)
    keeper._progress.advance({"JOBS": 7})
    await keeper.publish()
    assert (await read_cursors(metered_bus))["JOBS.metering"] == 7


async def test_whoever_stood_still_before_the_first_word_does_not_take_a_successor_s_back(
    metered_bus: Bus, ledger: Ledger
) -> None:
    await publish_cursor(metered_bus, "JOBS", "metering", 470)
    frozen = a_housekeeper(metered_bus, ledger.ingest)
    frozen._progress.advance({"JOBS": 470})
    database = Database(ledger.url)
    successor = a_housekeeper(metered_bus, open_ledger(database, Writer(name="rival")))
    for seq in (470, 471):
        successor._progress.advance({"JOBS": seq})
        await successor.publish()
    with pytest.raises(Superseded):
        await frozen.publish()
    assert (await read_cursors(metered_bus))["JOBS.metering"] == 471
    database.close()


async def test_a_word_that_meets_another_s_is_said_again(metered_bus: Bus, ledger: Ledger) -> None:
    await publish_cursor(metered_bus, "JOBS", "metering", 40)
    rivals = [41]

    async def confirm() -> None:
        while rivals:
            await publish_cursor(metered_bus, "JOBS", "metering", rivals.pop())

    keeper = Housekeeper(metered_bus, Progress(), confirm)
    keeper._progress.advance({"JOBS": 7})
    await keeper.publish()
    assert (await read_cursors(metered_bus))["JOBS.metering"] == 41
    await keeper.publish()
    assert (await read_cursors(metered_bus))["JOBS.metering"] == 7


async def test_an_older_copy_says_what_was_discarded_since_and_accuses_nobody(
    metered_bus: Bus, sqlite: Ledger, tmp_path: Path
) -> None:
    world = World()
    agent = world.a_node(gpus=1)
    before = world.submit()
    world.grant(before, ("n1", agent.devices))
    world.start(before)
    waiting = world.submit()
    mesh = Mesh(metered_bus, world, sqlite)
    async with running(mesh):
        await all_is_read(mesh)
        older = an_older_copy(sqlite, tmp_path)
    read_then = len(world.streams["JOBS"])
    world.exit(before)
    world.release(before)
    world.finish(before)
    await mesh.feed()
    await metered_bus.purge("JOBS", up_to_seq=len(world.streams["JOBS"]))
    gone = len(world.streams["JOBS"])
    world.grant(waiting, ("n1", agent.devices))  # the device is another's now
    world.start(waiting)
    world.pass_ms(1_000)
    world.exit(waiting)
    world.release(waiting)
    world.finish(waiting)
    agent.send()
    successor = Mesh(metered_bus, world, older)
    successor._fed = mesh._fed
    async with running(successor):
        await all_is_read(successor)
        said = await successor.audit()
        ended = await successor.ask("job", JobQuery(waiting.job_id), JobView)
        unknown = await successor.ask("job", JobQuery(before.job_id), JobView)
    assert [finding.code for finding in said.findings] == ["stream_gap"]
    assert said.findings[0].sentence.startswith(f"JOBS {read_then + 1} to {gone} are missing")
    assert said.unaccounted_ms == 0
    assert isinstance(ended, JobView)
    assert (ended.state, ended.gpu_milli_ms) == ("succeeded", 1_000_000)
    assert isinstance(unknown, JobView)
    assert (unknown.state, unknown.ranks[0].released) == ("unread", True)
    older.reopen()
    assert older.ingest.history.open_leases == 0
    older.database.close()


async def test_a_stream_that_was_cut_and_grew_past_the_cursor_is_read_again(
    ledger: Ledger,
) -> None:
    world = World()
    agent = world.a_node(gpus=1)
    for _ in range(4):
        world.a_run("n1", agent.devices)
        agent.send()
    broker = MemoryBroker(time.time_ns)
    bus = await memory.connect(broker, name="metering")
    await prepare(bus)
    mesh = Mesh(bus, world, ledger)
    async with running(mesh):
        await all_is_read(mesh)
    # The broker lost its last two messages of USAGE; two others came, and a third.
    broker.streams["USAGE"].synced_seq = 2
    broker.streams["USAGE"].lose_unsynced()
    del world.streams["USAGE"][2:]
    for _ in range(3):
        world.a_run("n1", agent.devices)
        agent.send()
    successor = Mesh(bus, world, ledger)
    successor._fed = mesh._fed
    mesh._fed["USAGE"] = 2
    async with running(successor):
        await all_is_read(successor)
        said = await successor.audit()
        assert successor.metering.ingest.totals.repeated == 2
    assert [finding.code for finding in said.findings] == ["stream_rewound"]
    assert said.unaccounted_ms == 0
    assert said.device_milli_ms["sold"] == 7_000_000
    await bus.close()
