"""Do both adapters store, fence, bound, read and purge alike?"""

from __future__ import annotations

import asyncio

import pytest

from bus.conftest import World, a_stream
from conftest import Eventually
from penstock_bus.port import (
    Appended,
    Bus,
    BusRefusal,
    Message,
    NoResponders,
    Outage,
    StoredMessage,
    StreamState,
    WrongSequence,
)


async def fill(bus: Bus, count: int, subject: str = "event.a") -> None:
    for n in range(count):
        await bus.append(subject, b"%d" % n)


async def test_appends_are_numbered_from_one_and_can_be_read_back(bus: Bus) -> None:
    await bus.ensure_streams([a_stream()])
    assert await bus.append("event.a", b"1") == Appended("EVENTS", 1)
    assert await bus.append("event.b", b"2", headers={"Kind": "x"}) == Appended("EVENTS", 2)

    first = await bus.read("EVENTS", 1)
    second = await bus.read("EVENTS", 2)
    assert first is not None and second is not None
    assert (first.subject, first.payload, first.seq, first.headers) == ("event.a", b"1", 1, None)
    assert (second.subject, second.payload, second.headers) == ("event.b", b"2", {"Kind": "x"})
    assert 0 < first.time_ns <= second.time_ns
    assert await bus.read("EVENTS", 3) is None


async def test_an_append_is_also_heard_by_plain_subscribers(
    world: World, bus: Bus, eventually: Eventually
) -> None:
    await bus.ensure_streams([a_stream()])
    heard: list[Message] = []
    other = await world.connect()
    await other.subscribe("event.>", heard.append)
    await bus.append("event.a", b"1")
    await bus.publish("event.a", b"2")  # stored as well, though nobody waits for it
    await eventually(lambda: [m.payload for m in heard] == [b"1", b"2"])

    async def stored() -> bool:
        return (await bus.stream_state("EVENTS")).last_seq == 2

    await eventually(stored)


async def test_a_fenced_append_is_refused_when_another_has_written(bus: Bus) -> None:
    await bus.ensure_streams([a_stream()])
    assert (await bus.append("event.a", b"1", expected_last_seq=0)).seq == 1
    with pytest.raises(WrongSequence):
        await bus.append("event.a", b"rival", expected_last_seq=0)
    with pytest.raises(WrongSequence):
        await bus.append("event.a", b"future", expected_last_seq=2)
    assert (await bus.append("event.a", b"2", expected_last_seq=1)).seq == 2


async def test_a_fenced_resend_with_the_same_id_is_refused_too(bus: Bus) -> None:
    await bus.ensure_streams([a_stream()])
    await bus.append("event.a", b"1", expected_last_seq=0, message_id="entry-1")
    with pytest.raises(WrongSequence):
        await bus.append("event.a", b"1", expected_last_seq=0, message_id="entry-1")


async def test_a_known_id_is_stored_once_and_answers_with_the_first_sequence(bus: Bus) -> None:
    await bus.ensure_streams([a_stream()])
    await bus.append("event.a", b"1", message_id="x")
    await bus.append("event.a", b"2", message_id="y")
    assert await bus.append("event.a", b"1", message_id="x") == Appended("EVENTS", 1, True)
    assert (await bus.stream_state("EVENTS")).last_seq == 2


async def test_an_id_is_forgotten_after_the_window(bus: Bus, eventually: Eventually) -> None:
    await bus.ensure_streams([a_stream(duplicate_window_s=1)])
    await bus.append("event.a", b"1", message_id="x")

    async def stored_again() -> bool:
        return not (await bus.append("event.a", b"1", message_id="x")).duplicate

    assert not await stored_again()
    await eventually(stored_again)


async def test_append_nowait_calls_back_once_with_the_place_or_the_error(
    bus: Bus, eventually: Eventually
) -> None:
    await bus.ensure_streams([a_stream(max_message_bytes=100)])
    results: list[Appended | Exception] = []
    for n in range(1_000):
        bus.append_nowait("event.a", b"%d" % n, results.append)
    assert results == []
    await eventually(lambda: len(results) == 1_000)
    assert results == [Appended("EVENTS", n + 1) for n in range(1_000)]

    errors: list[Appended | Exception] = []
    bus.append_nowait("event.a", b"rival", errors.append, expected_last_seq=5)
    bus.append_nowait("event.a", b"x" * 200, errors.append)
    bus.append_nowait("nowhere", b"x", errors.append)
    await eventually(lambda: len(errors) == 3)
    kinds = sorted(type(e).__name__ for e in errors)
    assert kinds == ["BusRefusal", "NoResponders", "WrongSequence"]


async def test_an_append_that_no_stream_takes_finds_nobody(bus: Bus) -> None:
    with pytest.raises(NoResponders):
        await bus.append("nowhere", b"")


async def test_a_full_stream_that_discards_new_refuses_and_keeps_the_old(bus: Bus) -> None:
    await bus.ensure_streams([a_stream(max_bytes=2_000, discard_new=True)])
    stored = 0
    with pytest.raises(BusRefusal):
        while stored < 100:
            await bus.append("event.a", b"x" * 200)
            stored += 1
    state = await bus.stream_state("EVENTS")
    assert 0 < stored < 10 and (state.first_seq, state.messages) == (1, stored)
    await bus.purge("EVENTS", up_to_seq=1)
    assert (await bus.append("event.a", b"x" * 200)).seq == stored + 1


async def test_a_full_stream_that_discards_old_keeps_the_newest(bus: Bus) -> None:
    await bus.ensure_streams([a_stream(max_bytes=2_000)])
    for _ in range(50):
        await bus.append("event.a", b"x" * 200)
    state = await bus.stream_state("EVENTS")
    assert state.last_seq == 50 and state.first_seq > 40 and state.bytes <= 2_000


async def test_a_subject_at_its_bound_refuses_alone_or_lets_its_oldest_go(bus: Bus) -> None:
    await bus.ensure_streams(
        [
            a_stream(max_messages_per_subject=2, discard_new=True, discard_new_per_subject=True),
            a_stream("LAST", "last.>", max_messages_per_subject=2),
        ]
    )
    await fill(bus, 2)
    with pytest.raises(BusRefusal):
        await bus.append("event.a", b"third")
    assert (await bus.append("event.b", b"another tenant's")).seq == 3

    await fill(bus, 3, "last.a")
    assert await bus.read("LAST", 1) is None
    assert (await bus.stream_state("LAST")).messages == 2


async def test_a_message_above_the_bound_is_refused_without_effect(bus: Bus) -> None:
    await bus.ensure_streams([a_stream(max_message_bytes=100)])
    await bus.append("event.a", b"x" * 100)
    with pytest.raises(BusRefusal):
        await bus.append("event.a", b"x" * 101)
    assert (await bus.stream_state("EVENTS")).last_seq == 1


async def test_what_the_broker_would_not_take_is_refused_before_it_is_sent(
    bus: Bus, eventually: Eventually
) -> None:
    """The real broker closes the connection of whoever sends too much."""
    await bus.ensure_streams([a_stream()])
    with pytest.raises(BusRefusal):
        bus.publish_nowait("event.a", b"x" * (1024 * 1024 + 1))
    with pytest.raises(BusRefusal):
        await bus.append("event.a", b"x" * (1024 * 1024), headers={"a": "b"})
    results: list[Appended | Exception] = []
    bus.append_nowait("event.a", b"x" * (1024 * 1024 + 1), results.append)
    await eventually(lambda: results)
    assert isinstance(results[0], BusRefusal)
    assert (await bus.append("event.a", b"x" * (1024 * 1024))).seq == 1


async def test_messages_of_age_are_let_go(bus: Bus, eventually: Eventually) -> None:
    await bus.ensure_streams([a_stream(max_age_s=1, duplicate_window_s=1)])
    await bus.append("event.a", b"x")

    async def gone() -> bool:
        return (await bus.stream_state("EVENTS")).messages == 0

    await eventually(gone)
    assert (await bus.append("event.a", b"x")).seq == 2


async def test_direct_reads_find_the_last_the_next_and_many(bus: Bus) -> None:
    await bus.ensure_streams([a_stream()])
    for n, who in enumerate("abcabc"):
        await bus.append(f"event.{who}.x", b"%d" % n)

    def seq_of(found: StoredMessage | None) -> int | None:
        return None if found is None else found.seq

    assert seq_of(await bus.read_last("EVENTS", "event.b.x")) == 5
    assert seq_of(await bus.read_last("EVENTS", "event.*.x")) == 6
    assert seq_of(await bus.read_last("EVENTS", "event.d.x")) is None
    assert seq_of(await bus.read_next("EVENTS", 1, "event.b.x")) == 2
    assert seq_of(await bus.read_next("EVENTS", 3, "event.b.>")) == 5
    assert seq_of(await bus.read_next("EVENTS", 6, "event.b.x")) is None
    assert seq_of(await bus.read_next("EVENTS", 0, "event.>")) == 1

    async def many(from_seq: int, subject: str, limit: int) -> list[int]:
        found = await bus.read_many("EVENTS", from_seq, subject, limit=limit)
        return [m.seq for m in found]

    assert await many(2, "event.>", 3) == [2, 3, 4]
    assert await many(2, "event.a.*", 9) == [4]
    assert await many(7, "event.>", 9) == []


async def test_reading_a_stream_that_is_not_there_is_refused_or_an_outage(bus: Bus) -> None:
    with pytest.raises((BusRefusal, Outage)):
        await bus.read("NOWHERE", 1)
    with pytest.raises(BusRefusal):
        await bus.stream_state("NOWHERE")
    with pytest.raises(BusRefusal):
        await bus.reader("NOWHERE", after_seq=0)


async def test_purges_go_up_to_a_sequence_and_never_give_one_out_again(bus: Bus) -> None:
    await bus.ensure_streams([a_stream()])
    empty = await bus.stream_state("EVENTS")
    assert (empty.first_seq, empty.last_seq, empty.messages) == (1, 0, 0)
    await bus.purge("EVENTS", up_to_seq=5)
    await fill(bus, 5)

    await bus.purge("EVENTS", up_to_seq=2)
    state = await bus.stream_state("EVENTS")
    assert (state.first_seq, state.last_seq, state.messages) == (3, 5, 3)
    await bus.purge("EVENTS", up_to_seq=0)
    assert (await bus.stream_state("EVENTS")).messages == 3

    await bus.purge("EVENTS", up_to_seq=1_000)  # beyond the end: must not skip what comes next
    assert await bus.stream_state("EVENTS") == StreamState(6, 5, 0, 0)
    assert (await bus.append("event.a", b"x", expected_last_seq=5)).seq == 6


async def test_a_purge_of_one_subject_leaves_the_others(bus: Bus) -> None:
    await bus.ensure_streams([a_stream()])
    for who in "abab":
        await bus.append(f"event.{who}", b"")
    await bus.purge("EVENTS", up_to_seq=2, subject="event.a")
    assert await bus.read("EVENTS", 1) is None and await bus.read("EVENTS", 3) is not None
    await bus.purge("EVENTS", subject="event.b")
    assert (await bus.stream_state("EVENTS")).messages == 1


async def test_streams_are_made_once_and_changed_in_place(world: World, bus: Bus) -> None:
    other = await world.connect()
    await asyncio.gather(
        *(b.ensure_streams([a_stream(), a_stream("OTHER", "other.>")]) for b in (bus, other))
    )
    await bus.append("event.a", b"1")
    await bus.ensure_streams([a_stream(max_message_bytes=10)])
    assert (await bus.stream_state("EVENTS")).last_seq == 1
    with pytest.raises(BusRefusal):
        await bus.append("event.a", b"x" * 11)
    with pytest.raises(BusRefusal):
        await bus.ensure_streams([a_stream("RIVAL", "event.b")])


async def test_streams_in_memory_and_with_async_persistence_store_as_well(bus: Bus) -> None:
    await bus.ensure_streams(
        [
            a_stream("SAMPLES", "sample.>", memory=True),
            a_stream("FACTS", "fact.>", async_persist=True),
        ]
    )
    assert (await bus.append("sample.a", b"")).seq == 1
    assert (await bus.append("fact.a", b"")).seq == 1
