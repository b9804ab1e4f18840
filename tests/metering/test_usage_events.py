"""Does use leave the mesh as events, each segment once and in order, whatever fails?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
import pytest

from conftest import Eventually
from metering import mesh as mesh_module
from metering.conftest import Ledger
from metering.mesh import Mesh, running
from metering.world import World
from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.port import Bus, StoredMessage
from penstock_contracts.ids import segment_id
from penstock_contracts.metered import MeteredUse
from penstock_metering import intake
from penstock_metering.core.usage_events import LeaseOf, Place, SegmentLine, tell
from penstock_metering.exports import usage_events as shell

LEASE = LeaseOf("acme", "vision", "spot", "berlin", "n1", 2)


def a_line(**changes: Any) -> SegmentLine:
    plain = SegmentLine(
        batch=1, lease_seq=7, job_id="J", rank=0, seq=0, device="GPU-1", milli=500, t0_ms=1_000,
        t1_ms=4_000, energy_mj=9, used_milli_ms=None, node="n1", model="H100", lease=LEASE,
    )  # fmt: skip
    return plain._replace(**changes)


def test_lines_of_a_segment_make_one_event_with_its_derived_id() -> None:
    lines = [a_line(), a_line(device="GPU-2", energy_mj=None, used_milli_ms=4)]
    told = tell(lines, Place(), last_batch=3, jobs_seq=9, jobs_end=9)
    (event,) = told.events
    use = msgspec.json.decode(event.data, type=MeteredUse)
    assert use.id == event.id == segment_id(7, "J", 2, 0, 0)
    assert event.subject == "penstock.v1.metered.acme.usage"
    assert [(d.uuid, d.energy_mj, d.used_milli_ms) for d in use.devices] == [
        ("GPU-1", 9, None),
        ("GPU-2", None, 4),
    ]
    assert (use.gpu_milli, use.gpu_milli_ms, use.cpu_milli_ms) == (500, 3_000_000, 0)
    assert (use.project, use.tier, use.site) == ("vision", "spot", "berlin")
    assert event.headers["ce-specversion"] == "1.0"
    assert event.headers["ce-id"] == use.id
    assert event.headers["ce-time"] == "1970-01-01T00:00:04.000Z"
    assert told.next_place == Place(4)


def test_work_without_devices_is_told_by_its_processors() -> None:
    told = tell([a_line(device="", milli=2_000)], Place(), 1, 9, 9)
    use = msgspec.json.decode(told.events[0].data, type=MeteredUse)
    assert (use.devices, use.cpu_milli, use.cpu_milli_ms) == ((), 2_000, 6_000_000)
    assert use.gpu_milli_ms == 0


def test_a_segment_whose_lease_may_still_become_known_holds_back_what_follows() -> None:
    lines = [a_line(seq=0), a_line(seq=1, lease=None), a_line(batch=2, seq=2)]
    told = tell(lines, Place(), 2, jobs_seq=6, jobs_end=8)
    assert [event.place for event in told.events] == [Place(1, 0)]
    assert told.is_held
    later = tell([lines[1]._replace(lease=LEASE), lines[2]], told.next_place, 2, 8, 8)
    # Of a batch that was told in part, only whole batches are read again: here its second half.
    assert later.next_place == Place(3)


def test_a_segment_that_no_lease_can_belong_to_or_of_another_node_is_left_out() -> None:
    lines = [
        a_line(seq=0, lease=None),
        a_line(seq=1, node="n2"),
        a_line(seq=2, lease_seq=99, lease=None),
        a_line(seq=3),
    ]
    told = tell(lines, Place(), 1, jobs_seq=50, jobs_end=50)
    assert [event.place for event in told.events] == [Place(1, 3)]
    assert not told.is_held


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "GATHER_S", 0.01)
    monkeypatch.setattr(shell, "LOOK_S", 0.01)
    monkeypatch.setattr(shell, "RETRY_S", 0.01)


@pytest.fixture
async def twin() -> AsyncIterator[Bus]:
    made = await memory.connect(MemoryBroker(time.time_ns), name="metering")
    await mesh_module.prepare(made)
    yield made
    await made.close()


@pytest.fixture
async def real(bus_factory: Callable[..., Awaitable[Bus]]) -> Bus:
    made = await bus_factory("metering")
    await mesh_module.prepare(made)
    return made


@pytest.fixture(params=["twin", "real"])
def metered_bus(request: pytest.FixtureRequest) -> Bus:
    made: Bus = request.getfixturevalue(request.param)
    return made


def a_mesh(bus: Bus, world: World, ledger: Ledger) -> Mesh:
    mesh = Mesh(bus, world, ledger)
    mesh.metering.usage_events = shell.UsageEvents(bus, ledger.database, mesh_module.run_inline)
    return mesh


async def told(bus: Bus) -> list[StoredMessage]:
    state = await bus.stream_state("METERED")
    return await bus.read_many("METERED", max(1, state.first_seq), "penstock.v1.metered.*.usage")


def expected(world: World) -> list[str]:
    """Ids of all segments, in the order in which USAGE has them."""
    found = []
    for message in world.streams["USAGE"]:
        batch = msgspec.json.decode(message.payload)
        own = [
            (s["lease_seq"], s["job_id"], s["rank"], s["seq"], s["attempt"])
            for s in batch["segments"]
        ]
        found += [segment_id(a, b, e, c, d) for a, b, c, d, e in sorted(own)]
    return found


def ids(messages: list[StoredMessage]) -> list[str]:
    return [msgspec.json.decode(message.payload, type=MeteredUse).id for message in messages]


async def all_told(bus: Bus, world: World) -> bool:
    return ids(await told(bus)) == expected(world)


async def test_every_segment_is_told_once_and_in_order_across_restarts(
    metered_bus: Bus, world: World, sqlite: Ledger, eventually: Eventually
) -> None:
    agent = world.a_node("n1", gpus=2)
    mesh = a_mesh(metered_bus, world, sqlite)
    for life in range(3):
        for number in range(4):
            world.a_run("n1", agent.devices[:1], tenant=("acme", "beta")[number % 2])
            agent.send()
        async with running(mesh):
            await eventually(partial(all_told, metered_bus, world))
        successor = a_mesh(metered_bus, world, sqlite)
        successor._fed = mesh._fed
        mesh = successor
        assert len(expected(world)) == 4 * (life + 1)
    messages = await told(metered_bus)
    assert {message.subject.split(".")[3] for message in messages} == {"acme", "beta"}
    types = {dict(message.headers or {}).get("ce-type") for message in messages}
    assert types == {"penstock.usage.metered"}


async def test_what_has_aged_out_is_not_told_again(
    twin: Bus, world: World, sqlite: Ledger, eventually: Eventually
) -> None:
    agent = world.a_node("n1", gpus=2)
    world.a_run("n1", agent.devices)
    agent.send()
    mesh = a_mesh(twin, world, sqlite)
    async with running(mesh):
        await eventually(partial(all_told, twin, world))
        await eventually(lambda: twin.kv_get("CURSORS", "METERED.batches"))
    await twin.purge("METERED")
    world.a_run("n1", agent.devices)
    agent.send()
    successor = a_mesh(twin, world, sqlite)
    successor._fed = mesh._fed
    async with running(successor):
        await eventually(lambda: told(twin))
        assert ids(await told(twin)) == expected(world)[1:]


async def test_a_broker_that_lost_all_is_told_all_again_under_the_same_ids(
    twin: Bus, world: World, sqlite: Ledger, eventually: Eventually
) -> None:
    agent = world.a_node("n1", gpus=2)
    for _ in range(3):
        world.a_run("n1", agent.devices)
        agent.send()
    async with running(a_mesh(twin, world, sqlite)):
        await eventually(partial(all_told, twin, world))
    blank = await memory.connect(MemoryBroker(time.time_ns), name="metering")
    await mesh_module.prepare(blank)
    async with running(a_mesh(blank, world, sqlite)):
        await eventually(partial(all_told, blank, world))
    await blank.close()


async def test_one_that_publishes_beside_another_repeats_nothing(
    twin: Bus, world: World, sqlite: Ledger, eventually: Eventually
) -> None:
    agent = world.a_node("n1", gpus=2)
    mesh = a_mesh(twin, world, sqlite)
    zombie = shell.UsageEvents(twin, sqlite.database, mesh_module.run_inline)
    async with running(mesh):
        assert mesh.metering.usage_events is not None
        publishers = (zombie, mesh.metering.usage_events)
        beside = asyncio.ensure_future(zombie.run())
        for _ in range(20):
            world.a_run("n1", agent.devices)
            agent.send()
            await mesh.feed()
        await eventually(partial(all_told, twin, world))
        # what the broker has stored is counted when its acknowledgement is here
        await eventually(lambda: sum(publisher.published for publisher in publishers) >= 20)
        beside.cancel()
        await asyncio.gather(beside, return_exceptions=True)
    assert sum(publisher.published for publisher in publishers) == 20


async def test_nothing_is_told_unless_it_is_wished_for(
    twin: Bus, world: World, sqlite: Ledger
) -> None:
    agent = world.a_node("n1", gpus=2)
    world.a_run("n1", agent.devices)
    agent.send()
    async with running(Mesh(twin, world, sqlite)) as mesh:
        await mesh.audit()
        assert await told(twin) == []
