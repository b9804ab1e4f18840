"""Do both adapters read a stream in order, without gap or repeat, whatever the broker suffers?"""

from __future__ import annotations

import asyncio

import pytest

from bus.conftest import World, a_stream
from conftest import Eventually
from penstock_bus.port import Appended, Bus, Outage, Reader, StoredMessage, WrongSequence


async def take(reader: Reader, count: int, timeout_s: float = 15.0) -> list[int]:
    """The sequences of the next `count` messages."""
    seqs: list[int] = []
    async with asyncio.timeout(timeout_s):
        while len(seqs) < count:
            seqs += [m.seq for m in await reader.next_batch()]
    return seqs


def append_many(bus: Bus, first: int, count: int, results: list[Appended | Exception]) -> None:
    for n in range(first, first + count):
        bus.append_nowait("event.a", b"%d" % n, results.append)


async def test_a_reader_gives_what_is_behind_its_cursor_and_then_what_comes(
    bus: Bus, eventually: Eventually
) -> None:
    await bus.ensure_streams([a_stream()])
    results: list[Appended | Exception] = []
    append_many(bus, 1, 2_500, results)
    await eventually(lambda: len(results) >= 100)  # a cursor is never ahead of its stream
    reader = await bus.reader("EVENTS", after_seq=100)
    seqs = await take(reader, 2_400)
    assert seqs == list(range(101, 2_501))
    assert reader.take_ready() == []

    waiting = asyncio.ensure_future(reader.next_batch())
    await bus.append("event.b", b"live", headers={"Kind": "x"})
    (message,) = await asyncio.wait_for(waiting, 5.0)
    assert (message.subject, message.payload, message.seq) == ("event.b", b"live", 2_501)
    assert message.headers == {"Kind": "x"} and message.time_ns > 0
    await reader.close()


async def test_a_batch_never_exceeds_five_hundred(bus: Bus, eventually: Eventually) -> None:
    await bus.ensure_streams([a_stream()])
    results: list[Appended | Exception] = []
    append_many(bus, 1, 1_200, results)
    await eventually(lambda: len(results) == 1_200)
    reader = await bus.reader("EVENTS", after_seq=0)
    seqs: list[int] = []
    while len(seqs) < 1_200:
        batch = await asyncio.wait_for(reader.next_batch(), 5.0)
        assert 0 < len(batch) <= 500
        seqs += [m.seq for m in batch]
    assert seqs == list(range(1, 1_201))


async def test_a_reader_of_one_subject_skips_the_others(bus: Bus) -> None:
    await bus.ensure_streams([a_stream()])
    for n in range(20):
        await bus.append(f"event.{'ab'[n % 2]}", b"")
    reader = await bus.reader("EVENTS", after_seq=3, subject="event.b")
    assert await take(reader, 9) == [4, 6, 8, 10, 12, 14, 16, 18, 20]


async def test_a_reader_passes_over_what_was_purged(bus: Bus) -> None:
    await bus.ensure_streams([a_stream()])
    for _ in range(10):
        await bus.append("event.a", b"")
    await bus.purge("EVENTS", up_to_seq=6)
    reader = await bus.reader("EVENTS", after_seq=0)
    assert await take(reader, 4) == [7, 8, 9, 10]


async def test_a_slow_caller_gets_everything_in_the_end(bus: Bus, eventually: Eventually) -> None:
    await bus.ensure_streams([a_stream(max_bytes=64 * 1024 * 1024)])
    reader = await bus.reader("EVENTS", after_seq=0)
    results: list[Appended | Exception] = []
    append_many(bus, 1, 8_000, results)
    await eventually(lambda: len(results) == 8_000)
    assert await take(reader, 8_000) == list(range(1, 8_001))


async def test_a_closed_reader_wakes_its_caller_with_an_outage(bus: Bus) -> None:
    await bus.ensure_streams([a_stream()])
    reader = await bus.reader("EVENTS", after_seq=0)
    waiting = asyncio.ensure_future(reader.next_batch())
    await asyncio.sleep(0)
    await reader.close()
    with pytest.raises(Outage):
        await asyncio.wait_for(waiting, 5.0)


async def test_a_reader_goes_on_exactly_where_it_was_after_the_broker_was_killed(
    world: World, bus: Bus, eventually: Eventually
) -> None:
    await bus.ensure_streams([a_stream()])
    writer = await world.connect()
    results: list[Appended | Exception] = []
    append_many(writer, 1, 1_500, results)
    reader = await bus.reader("EVENTS", after_seq=0)
    seqs = await take(reader, 700)

    await eventually(lambda: len(results) == 1_500)
    await world.crash()
    await eventually(lambda: not bus.connected)
    await world.start()
    await eventually(lambda: bus.connected and writer.connected)

    async def appended() -> bool:
        try:
            await writer.append("event.a", b"after", timeout_s=1.0)
        except Outage:
            return False
        return True

    await eventually(appended)
    last_seq = (await bus.stream_state("EVENTS")).last_seq
    seqs += await take(reader, last_seq - len(seqs))
    assert seqs == list(range(1, last_seq + 1))


async def test_a_reader_survives_several_kills_while_a_writer_repeats_itself(
    world: World, bus: Bus, eventually: Eventually
) -> None:
    """The writer numbers its messages and repeats what was not acknowledged; ids make that safe."""
    await bus.ensure_streams([a_stream()])
    writer = await world.connect()
    reader = await bus.reader("EVENTS", after_seq=0)
    total = 300
    written = 0

    async def write() -> None:
        nonlocal written
        while written < total:
            try:
                await writer.append(
                    "event.a", b"%d" % written, message_id=f"m{written}", timeout_s=1.0
                )
                written += 1
            except Outage:
                await asyncio.sleep(0.01)

    writing = asyncio.ensure_future(write())

    async def reached(count: int) -> None:
        await eventually(lambda: written >= count)

    for share in (1, 2):
        await reached(total * share // 4)
        await world.crash()
        await world.start()
    messages: list[StoredMessage] = []
    async with asyncio.timeout(30):
        while len(messages) < total:
            messages += await reader.next_batch()
    await asyncio.wait_for(writing, 10)
    assert [m.seq for m in messages] == list(range(1, total + 1))
    assert [int(m.payload) for m in messages] == list(range(total))


async def test_after_a_lost_acknowledgement_the_resend_is_refused_and_the_entry_is_found(
    world: World, bus: Bus, eventually: Eventually
) -> None:
    await bus.ensure_streams([a_stream()])
    await bus.append("event.a", b"before", expected_last_seq=0)
    outcome: list[Appended | Exception] = []
    bus.append_nowait("event.a", b"entry", outcome.append, expected_last_seq=1, timeout_s=1.0)
    watcher = await world.connect()

    async def stored() -> bool:
        return (await watcher.stream_state("EVENTS")).last_seq == 2

    await eventually(stored)
    await world.crash()
    await world.start()
    await eventually(lambda: bus.connected and outcome)

    async def resent() -> bool:
        """Until acknowledged or refused, with identical bytes."""
        try:
            await bus.append("event.a", b"entry", expected_last_seq=1, timeout_s=1.0)
        except Outage:
            return False
        except WrongSequence:
            return True
        raise AssertionError("the resend was stored a second time")

    await eventually(resent)
    entry = await bus.read("EVENTS", 2)
    assert entry is not None and entry.payload == b"entry"


async def test_a_reader_of_a_memory_stream_starts_again_when_the_broker_has_lost_it(
    world: World, bus: Bus, eventually: Eventually
) -> None:
    stream = a_stream("SAMPLES", "sample.>", memory=True)
    await bus.ensure_streams([stream])
    reader = await bus.reader("SAMPLES", after_seq=0)
    for _ in range(5):
        await bus.append("sample.a", b"old")
    assert await take(reader, 5) == [1, 2, 3, 4, 5]
    await world.crash()
    await world.start()
    await eventually(lambda: bus.connected)
    await bus.ensure_streams([stream])
    await bus.append("sample.a", b"new")
    assert await take(reader, 1) == [1]
