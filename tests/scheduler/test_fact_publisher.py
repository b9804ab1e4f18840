"""Does the stream FACTS have each public fact once and in order, whatever breaks?"""

from __future__ import annotations

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
from penstock_scheduler.fact_publisher import FactPublisher
from tests.conftest import Eventually
from tests.scheduler.driver import Driver, a_job, a_node


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
