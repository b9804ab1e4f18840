"""Is every input consumed exactly once, wherever the process or the broker dies?"""

from __future__ import annotations

import asyncio
import itertools
import time
from unittest.mock import patch

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_bus import memory, memory_session
from penstock_bus.memory_broker import MemoryBroker
from penstock_runtime import journal
from runtime.tally import EverybodyLeads, Running, a_service, deposit, journal_of, prepare, until


class Blow(msgspec.Struct, frozen=True):
    """After `steps` turns of the loop `what` dies."""

    steps: int
    what: str
    deposits: int


blows = st.lists(
    st.builds(
        Blow,
        steps=st.integers(0, 120),
        what=st.sampled_from(["process", "broker", "process and broker"]),
        deposits=st.integers(0, 4),
    ),
    max_size=5,
)


async def live_through(plan: list[Blow], snapshot_every: int) -> None:
    broker = MemoryBroker(time.time_ns)
    giver = await memory.connect(broker, name="giver")
    await prepare(giver)
    names = (f"d{number}" for number in itertools.count())
    given_names: list[str] = []

    async def give(count: int) -> None:
        for _ in range(count):
            given_names.append(next(names))
            await deposit(giver, given_names[-1])

    async def begin() -> tuple[memory.MemoryBus, Running]:
        bus = await memory.connect(broker, name="service")
        service = a_service(bus, snapshot_every=snapshot_every, leadership=EverybodyLeads())
        return bus, Running(service)

    await give(3)
    bus, running = await begin()
    for blow in plan:
        await give(blow.deposits)
        for _ in range(blow.steps):
            await asyncio.sleep(0)
        if "process" in blow.what:
            bus.kill()
            await running.kill()
        if "broker" in blow.what:
            broker.crash()
            broker.start()
        if "process" in blow.what:
            bus, running = await begin()
        await until(lambda: giver.connected)
    await give(2)
    await until(lambda: running.active and len(running.held.times) == len(given_names))
    await running.end()
    held = running.held
    assert held.times == dict.fromkeys(given_names, 1)
    facts = [fact for entry in await journal_of(giver) for fact in entry["facts"]]
    assert [f["name"] for f in facts if f["fact"] == "deposited"] == given_names
    _, fresh = await begin()
    await until(lambda: fresh.active)
    assert fresh.held == held, "a restart folds the same state"
    await fresh.end()


@settings(max_examples=40, deadline=None)
@given(plan=blows, snapshot_every=st.sampled_from([1, 2, 1000]))
def test_every_deposit_counts_once_whatever_dies(plan: list[Blow], snapshot_every: int) -> None:
    with patch.object(memory_session, "RECONNECT_S", 0.01), patch.object(journal, "RETRY_S", 0.01):
        asyncio.run(live_through(plan, snapshot_every))


def test_a_crash_at_every_turn_of_the_loop_loses_and_doubles_nothing() -> None:
    for steps in range(60):
        asyncio.run(live_through([Blow(steps, "process", 2)], snapshot_every=2))
