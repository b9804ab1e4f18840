"""Can a purge take what a registered reader still needs?

Any history of inputs, snapshots, readers that lag, appear late or lose their cursors, damaged
snapshots, and kills at any turn of the loop. Whatever a reader has not committed must still be
there, and a restart must find its state.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_bus import memory, memory_session
from penstock_bus.memory_broker import MemoryBroker
from penstock_runtime import cursors, journal
from penstock_runtime.cursors import publish_cursor
from penstock_runtime.pace import Pace
from runtime.tally import (
    INPUT,
    JOURNAL,
    EverybodyLeads,
    Running,
    a_service,
    deposit,
    prepare,
    until,
)

NAMES = ("quick", "slow", "late")
READERS = {JOURNAL: NAMES, INPUT: ("tally", *NAMES)}
ONCE = ("all read", "snapshot damaged", "cursors lost")
PLANS = st.lists(
    st.one_of(
        st.tuples(st.just("deposits"), st.integers(1, 4)),
        st.tuples(st.just("kill"), st.integers(0, 150)),
        st.tuples(st.sampled_from(NAMES), st.integers(0, 12)),
        st.tuples(st.sampled_from(ONCE), st.just(0)),
    ),
    max_size=14,
)


class Readers:
    """What each reader has committed in a storage of its own; `late` begins with nothing."""

    def __init__(self, bus: Any) -> None:
        self.bus = bus
        self.at: dict[tuple[str, str], int] = {
            (stream, name): 0 for stream in (JOURNAL, INPUT) for name in NAMES
        }

    async def advance(self, name: str, count: int) -> None:
        """It reads so many more: the next it needs must be there."""
        for stream in (JOURNAL, INPUT):
            await self.check(stream, name)
            last_seq = (await self.bus.stream_state(stream)).last_seq
            self.at[stream, name] = min(last_seq, self.at[stream, name] + count)
            await self.publish(stream, name)

    async def check(self, stream: str, name: str) -> None:
        first_seq = (await self.bus.stream_state(stream)).first_seq
        at = self.at[stream, name]
        assert first_seq <= at + 1, (
            f"{name} needs {at + 1} of {stream}, which begins at {first_seq}"
        )

    async def publish(self, stream: str, name: str) -> None:
        if seq := self.at[stream, name]:
            await publish_cursor(self.bus, stream, name, seq)

    async def publish_all(self) -> None:
        for stream, name in self.at:
            await self.check(stream, name)
            await self.publish(stream, name)


async def damage_newest(bus: Any) -> None:
    names = sorted(await bus.object_names("SNAPSHOTS"))
    if len(names) > 1:  # of two, one may turn out damaged
        await bus.object_put("SNAPSHOTS", names[-1], b"rubbish")


async def live_through(plan: list[tuple[str, int]]) -> None:
    broker = MemoryBroker(time.time_ns)
    giver = await memory.connect(broker, name="giver")
    await prepare(giver)
    readers, given_count = Readers(giver), 0

    async def begin() -> tuple[memory.MemoryBus, Running]:
        bus = await memory.connect(broker, name="service")
        service = a_service(
            bus, snapshot_every=1, leadership=EverybodyLeads(), owns=(JOURNAL, INPUT),
            readers=READERS, pace=Pace(tidy_s=0.001),
        )  # fmt: skip
        return bus, Running(service)

    bus, running = await begin()
    for what, number in plan:
        if what == "deposits":
            for _ in range(number):
                given_count += 1
                await deposit(giver, f"d{given_count}")
        elif what == "kill":
            for _ in range(number):
                await asyncio.sleep(0)
            bus.kill()
            await running.kill()
            bus, running = await begin()
        elif what == "snapshot damaged":
            await until(lambda now=running: now.active)
            bus.kill()
            await running.kill()
            await damage_newest(giver)
            bus, running = await begin()
        elif what == "all read":
            await until(lambda n=given_count, now=running: len(now.held.times) == n)
            await asyncio.gather(*(readers.advance(name, 1_000) for name in NAMES))
            await until(lambda: broker.streams[INPUT].state().messages <= 1)
        elif what == "cursors lost":
            for item in await giver.kv_all("CURSORS"):
                await giver.kv_delete("CURSORS", item.key)
            await readers.publish_all()
        else:
            await readers.advance(what, number)
    await until(lambda: running.active and len(running.held.times) == given_count)
    await running.end()
    await readers.publish_all()
    assert set(running.held.times.values()) <= {1}
    _, fresh = await begin()
    await until(lambda: fresh.active and fresh.held.times == running.held.times)
    await fresh.end()


@settings(max_examples=60, deadline=None)
@given(plan=PLANS)
def test_nothing_is_purged_that_somebody_needs(plan: list[tuple[str, int]]) -> None:
    quick = (
        patch.object(memory_session, "RECONNECT_S", 0.01),
        patch.object(journal, "RETRY_S", 0.01),
        patch.object(cursors, "PUBLISH_S", 0.01),
    )
    with quick[0], quick[1], quick[2]:
        asyncio.run(live_through(plan))
