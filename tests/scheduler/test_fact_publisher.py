"""Does the stream FACTS have each public fact once and in order, whatever breaks?"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import msgspec
import pytest

from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_contracts.ids import ROOT
from penstock_contracts.streams import BUCKETS, STREAMS
from penstock_runtime.entries import Committed, encode_entry
from penstock_scheduler.fact_publisher import LOOK_S, FactPublisher
from tests.conftest import Eventually
from tests.scheduler.driver import Driver, a_job, a_node
from tests.simulation.kernel import Kernel


class Journal:
    """A scheduler's journal being written, and what stands in FACTS."""

    def __init__(self, broker: MemoryBroker, bus: memory.MemoryBus) -> None:
        self.broker, self.bus = broker, bus
        self.driver = Driver(a_node(gpus=8))
        self.last_seq = 0
        self.number = 0

    async def commit(self) -> Committed:
        """One more entry: a job is submitted and placed."""
        self.number += 1
        facts = self.driver.submit(a_job(self.number, gpus=0, cpu_milli=1))
        encoded = [msgspec.json.encode(fact) for fact in facts]
        payload = encode_entry(
            term=1, writer="w", entry_id=str(self.number), now_ns=5, cursors={}, facts=encoded
        )
        stored = await self.bus.append(f"{ROOT}.journal.jobs", payload)
        self.last_seq = stored.seq
        return Committed(
            seq=stored.seq,
            term=1,
            writer="w",
            entry_id=str(self.number),
            now_ns=5,
            cursors={},
            facts=facts,
        )

    async def told(self) -> list[tuple[int, int]]:
        """(seq, index) of every public fact, in the order of the stream."""
        reader = await self.bus.reader("FACTS", after_seq=0)
        state = await self.bus.stream_state("FACTS")
        found: list[tuple[int, int]] = []
        while len(found) < state.messages:
            for message in await reader.next_batch():
                fact = msgspec.json.decode(message.payload)
                found.append((fact["seq"], fact["index"]))
        await reader.close()
        return found

    def expected(self) -> list[tuple[int, int]]:
        return [(seq, index) for seq in range(1, self.last_seq + 1) for index in range(3)]


@pytest.fixture
async def journal() -> AsyncIterator[Journal]:
    broker = MemoryBroker(time.time_ns, rng=random.Random(1))
    bus = await memory.connect(broker, name="scheduler")
    await bus.ensure_streams(STREAMS)
    await bus.ensure_buckets(BUCKETS)
    yield Journal(broker, bus)
    await bus.close()


async def published(journal: Journal, publisher: FactPublisher, eventually: Eventually) -> None:
    await eventually(lambda: publisher.caught_up and publisher.published_seq == journal.last_seq)


async def test_fresh_entries_are_told_once_and_in_order(
    journal: Journal, eventually: Eventually
) -> None:
    publisher = FactPublisher(journal.bus, last_seq=lambda: journal.last_seq)
    publisher.start()
    await eventually(lambda: publisher.caught_up)
    for _ in range(5):
        publisher.on_commit(await journal.commit())
    assert await journal.told() == journal.expected()
    await publisher.stop()


async def test_a_new_publisher_goes_on_behind_what_is_told(
    journal: Journal, eventually: Eventually
) -> None:
    first = FactPublisher(journal.bus, last_seq=lambda: journal.last_seq)
    first.start()
    await eventually(lambda: first.caught_up)
    for _ in range(3):
        first.on_commit(await journal.commit())
    await first.stop()
    for _ in range(3):
        await journal.commit()
    second = FactPublisher(journal.bus, last_seq=lambda: journal.last_seq)
    second.start()
    await published(journal, second, eventually)
    assert await journal.told() == journal.expected()
    await second.stop()


async def test_what_a_crash_of_the_broker_takes_is_told_again(
    journal: Journal, eventually: Eventually
) -> None:
    publisher = FactPublisher(journal.bus, last_seq=lambda: journal.last_seq)
    publisher.start()
    await eventually(lambda: publisher.caught_up)
    for _ in range(4):
        publisher.on_commit(await journal.commit())
    journal.broker.crash(lose_unsynced=False)
    journal.broker.start()
    await eventually(lambda: journal.bus.connected)
    for _ in range(4):
        publisher.on_commit(await journal.commit())
    await published(journal, publisher, eventually)
    assert await journal.told() == journal.expected()
    await publisher.stop()


async def test_a_fact_is_never_told_over_a_connection_that_came_back_unnoticed(
    journal: Journal, eventually: Eventually
) -> None:
    publisher = FactPublisher(journal.bus, last_seq=lambda: journal.last_seq)
    publisher.start()
    await eventually(lambda: publisher.caught_up)
    publisher.on_commit(await journal.commit())
    await journal.bus.purge("FACTS")  # what was on the way when the connection broke is lost
    journal.bus.counters["disconnects"] += 1
    publisher.on_commit(await journal.commit())
    await published(journal, publisher, eventually)
    assert await journal.told() == journal.expected()
    await publisher.stop()


async def test_a_fact_that_the_stream_did_not_take_is_told_again_before_what_follows(
    journal: Journal, eventually: Eventually
) -> None:
    """Its leader may be away while the connection to another server is good."""
    publisher = FactPublisher(journal.bus, last_seq=lambda: journal.last_seq)
    publisher.start()
    await eventually(lambda: publisher.caught_up)
    publisher.on_commit(await journal.commit())
    entry = await journal.commit()
    journal.broker.full = True
    publisher.on_commit(entry)
    await eventually(lambda: publisher.counters["facts_missed"])
    journal.broker.full = False
    publisher.on_commit(await journal.commit())
    await published(journal, publisher, eventually)
    assert await journal.told() == journal.expected()
    await publisher.stop()


def test_a_full_broker_is_asked_again_now_and_then_and_not_without_a_pause() -> None:
    kernel = Kernel(1)
    missed: list[int] = []

    async def live() -> int:
        broker = MemoryBroker(lambda: kernel.now_ns, rng=kernel.rng)
        bus = await memory.connect(broker, name="scheduler")
        await bus.ensure_streams(STREAMS)
        journal = Journal(broker, bus)
        publisher = FactPublisher(bus, last_seq=lambda: journal.last_seq)
        publisher.start()
        await asyncio.sleep(1)
        entry = await journal.commit()
        broker.full = True
        publisher.on_commit(entry)
        await asyncio.sleep(20 * LOOK_S)
        missed.append(publisher.counters["facts_missed"])
        broker.full = False
        await asyncio.sleep(2 * LOOK_S)
        assert await journal.told() == journal.expected()
        await publisher.stop()
        return 0

    process = kernel.spawn("scheduler", live)
    kernel.loop.run_until(lambda: not process.alive, 60.0)
    assert process.error is None
    assert missed and 19 <= missed[0] <= 22


async def test_the_last_facts_are_looked_after_when_nothing_follows_them(
    journal: Journal, eventually: Eventually
) -> None:
    publisher = FactPublisher(journal.bus, last_seq=lambda: journal.last_seq)
    publisher.start()
    await eventually(lambda: publisher.caught_up)
    lost = journal.bus.publish_nowait
    journal.bus.publish_nowait = lambda *message: None  # type: ignore[assignment]
    publisher.on_commit(await journal.commit())  # the first of its facts is acknowledged
    journal.bus.publish_nowait = lost  # type: ignore[method-assign]
    assert await journal.told() == journal.expected()[:1]
    for now_s in (1.0, 2.0):
        await publisher.publish_cursor(now_s)
    await eventually(lambda: publisher.caught_up and publisher.counters["facts_missed"] == 1)
    assert await journal.told() == journal.expected()
    await publisher.stop()


async def test_two_publishers_at_once_tell_each_fact_once(
    journal: Journal, eventually: Eventually
) -> None:
    """A scheduler that was frozen goes on publishing until its first append fails."""
    publishers = [FactPublisher(journal.bus, last_seq=lambda: journal.last_seq) for _ in "ab"]
    for publisher in publishers:
        publisher.start()
    await eventually(lambda: all(publisher.caught_up for publisher in publishers))
    for _ in range(5):
        entry = await journal.commit()
        for publisher in publishers:
            publisher.on_commit(entry)
    for publisher in publishers:
        await published(journal, publisher, eventually)
    assert await journal.told() == journal.expected()
    for publisher in publishers:
        await publisher.stop()
