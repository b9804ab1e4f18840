"""Does the real reader hear at once, and get over what the broker or the socket loses?"""

from __future__ import annotations

import asyncio
import statistics
import time

import pytest

from bus.conftest import a_stream
from conftest import BusFactory
from penstock_bus.port import Appended


async def test_a_reader_that_found_nothing_hears_at_once_of_what_comes(
    bus_factory: BusFactory,
) -> None:
    """Trap 1: nats-py's `fetch` is seconds late after an empty fetch."""
    bus = await bus_factory()
    await bus.ensure_streams([a_stream()])
    reader = await bus.reader("EVENTS", after_seq=0)
    delays_s: list[float] = []
    for n in range(30):
        started = time.perf_counter()
        await bus.append("event.a", b"%d" % n)
        batch = await asyncio.wait_for(reader.next_batch(), 5.0)
        delays_s.append(time.perf_counter() - started)
        assert [m.seq for m in batch] == [n + 1]
    assert max(delays_s) < 0.5 and statistics.median(delays_s) < 0.05


async def test_an_idle_reader_outlives_its_pulls_without_starting_anew(
    bus_factory: BusFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap 1: heartbeats keep it, a pull's end (status 408) only leads to the next pull."""
    monkeypatch.setattr("penstock_bus.nats_reader.PULL_EXPIRES_S", 1)
    bus = await bus_factory()
    await bus.ensure_streams([a_stream()])
    reader = await bus.reader("EVENTS", after_seq=0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.next_batch(), 1.6)
    await bus.append("event.a", b"1")
    assert len(await asyncio.wait_for(reader.next_batch(), 1.0)) == 1
    assert bus.counters["reader_restarts"] == 0


async def test_a_reader_whose_consumer_the_broker_lost_makes_another_at_its_cursor(
    bus_factory: BusFactory,
) -> None:
    bus = await bus_factory()
    await bus.ensure_streams([a_stream()])
    reader = await bus.reader("EVENTS", after_seq=0)
    for n in range(3):
        await bus.append("event.a", b"%d" % n)
        batch = await asyncio.wait_for(reader.next_batch(), 10.0)
        assert [m.seq for m in batch] == [n + 1]
        names = (await bus._calls.api("CONSUMER.NAMES.EVENTS"))["consumers"]
        for name in names:
            await bus._calls.api(f"CONSUMER.DELETE.EVENTS.{name}")
    await bus.append("event.a", b"last")
    assert [m.seq for m in await asyncio.wait_for(reader.next_batch(), 10.0)] == [4]
    assert bus.counters["reader_restarts"] >= 1


async def test_a_reader_that_misses_a_delivery_goes_back_for_it(bus_factory: BusFactory) -> None:
    """A gap in the consumer's numbers: what the socket or a server's buffer swallowed."""
    bus = await bus_factory()
    await bus.ensure_streams([a_stream()])
    reader = await bus.reader("EVENTS", after_seq=0)
    handler = bus._connection._handlers[reader._sid]
    seen = 0

    def lossy(subject: bytes, reply: bytes, payload: bytes, block: bytes | None) -> None:
        nonlocal seen
        seen += 1
        if seen != 50:
            handler(subject, reply, payload, block)

    bus._connection._handlers[reader._sid] = lossy
    results: list[Appended | Exception] = []
    for n in range(200):
        bus.append_nowait("event.a", b"%d" % n, results.append)
    seqs: list[int] = []
    async with asyncio.timeout(10):
        while len(seqs) < 200:
            seqs += [m.seq for m in await reader.next_batch()]
    assert seqs == list(range(1, 201))
    assert bus.counters["reader_restarts"] == 1
