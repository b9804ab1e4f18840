"""Does what is derived come out the same again, and is what was damaged repaired?"""

from __future__ import annotations

import random

import sqlalchemy as sa

from metering.canonical import canonical
from metering.conftest import Ledger
from metering.mesh import Mesh, prepare, running
from metering.play import Play
from metering.world import World
from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_contracts.ids import ulid
from penstock_contracts.rebuilding import RebuildLedger, Stale, StaleQuery
from penstock_metering.deriving import derive_all
from penstock_metering.devices.tables import device_days
from penstock_metering.rating.tables import rated
from penstock_metering.rebuilding import answer_stale, rebuild

KEY = ulid(1, 1)


def a_ledger_with_use(ledger: Ledger) -> World:
    play = Play(random.Random(7))
    for _ in range(40):
        play.step()
    play.cut()
    for agent in play.world.agents.values():
        agent.send()
    ledger.take_all(play.world)
    return play.world


def stale(ledger: Ledger) -> Stale:
    return ledger.ingest.change(lambda connection: answer_stale(connection, StaleQuery(), 0))


def test_a_rebuilt_ledger_is_the_same(ledger: Ledger) -> None:
    world = a_ledger_with_use(ledger)
    before = canonical(ledger)
    ledger.ingest.change(lambda connection: rebuild(connection, RebuildLedger(KEY), 0))
    assert stale(ledger).leases > 10
    assert stale(ledger).nodes == 2
    ledger.ingest.change(lambda connection: derive_all(connection, world.now_ms))
    assert canonical(ledger) == before
    assert stale(ledger) == Stale(0, 0)


def test_a_rebuild_repairs_what_was_damaged(ledger: Ledger) -> None:
    world = a_ledger_with_use(ledger)
    before = canonical(ledger)
    with ledger.database.writing.begin() as connection:
        connection.execute(sa.update(device_days).values(held=1))
        connection.execute(sa.delete(rated))
    assert canonical(ledger) != before
    ledger.ingest.change(lambda connection: rebuild(connection, RebuildLedger(KEY), 0))
    ledger.ingest.change(lambda connection: derive_all(connection, world.now_ms))
    assert canonical(ledger) == before


async def test_a_rebuild_is_ordered_and_followed_over_the_bus(ledger: Ledger) -> None:
    world = World()
    world.a_run("n1", world.a_node(gpus=1).devices)
    world.agents["n1"].send()
    broker = MemoryBroker(lambda: world.now_ms * 1_000_000)
    bus = await memory.connect(broker, name="metering")
    await prepare(bus)
    async with running(Mesh(bus, world, ledger)) as mesh:
        assert (await mesh.audit()).unaccounted_ms == 0
        payload = RebuildLedger(KEY)
        begun = await mesh.order("rebuild", payload, Stale)
        assert begun == Stale(leases=1, nodes=1)
        assert await mesh.order("rebuild", payload, Stale) == begun
        assert await mesh.ask("stale", StaleQuery(), Stale) == Stale(0, 0)
        assert (await mesh.audit()).unaccounted_ms == 0
