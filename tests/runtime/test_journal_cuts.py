"""What becomes of a journal whose end, or all of which, the broker has lost?

Whoever still has the lost entries puts them back; else their sequences are never given again, as
far as anybody holds something of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from conftest import Eventually
from penstock_bus.memory_broker import MemoryBroker
from penstock_runtime import engine
from penstock_runtime.cursors import publish_cursor
from penstock_runtime.pace import Pace
from penstock_runtime.process import EXIT_OK, EXIT_STEPPED_DOWN
from runtime.conftest import Connect
from runtime.tally import (
    JOURNAL,
    JOURNAL_SUBJECT,
    Deposit,
    Running,
    a_foreign_entry,
    a_service,
    deposit,
    journal_of,
    prepare,
    until,
)


def power_loss(broker: MemoryBroker, kept_seq: int) -> None:
    """The broker comes back with its journal's first `kept_seq` entries."""
    broker.crash()
    broker.streams[JOURNAL].synced_seq = kept_seq
    broker.streams[JOURNAL].lose_unsynced()
    broker.start()


async def a_worker(bus: object, eventually: Eventually, count: int, **options: object) -> Running:
    """A service that has committed `count` entries behind the one that opened its term."""
    running = Running(a_service(bus, **options))
    await eventually(lambda: running.active)
    for number in range(count):
        assert await running.service.submit(Deposit(f"d{number}", 1)) is not None
    return running


@pytest.mark.parametrize("kept_seq", [0, 1, 4])
async def test_the_active_writer_puts_back_exactly_what_the_broker_lost(
    twin: Connect, broker: MemoryBroker, eventually: Eventually, kept_seq: int
) -> None:
    bus = await twin("service")
    running = await a_worker(bus, eventually, 5)
    before = await journal_of(bus)
    power_loss(broker, kept_seq)
    await eventually(lambda: bus.connected)
    entry = await running.service.submit(Deposit("after", 1))
    assert entry is not None and entry.seq == len(before) + 1
    assert (await journal_of(bus))[: len(before)] == before
    assert running.service.count()["entries_put_back"] == len(before) - kept_seq
    assert set(running.held.times.values()) == {1} and len(running.held.times) == 6
    await running.end()


async def test_what_the_writer_has_no_more_is_decided_again_under_new_sequences(
    twin: Connect, broker: MemoryBroker, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock_runtime.journal.RECENT_MAX", 2)
    recoveries: list[int] = []
    bus = await twin("service")
    service = a_service(bus, on_recovered=lambda: recoveries.append(service.last_seq))
    running = Running(service)
    await eventually(lambda: running.active)
    for number in range(5):
        await deposit(bus, f"d{number}")
        await eventually(lambda n=number: running.held.total == n + 1)
    last_seq = running.service.last_seq
    power_loss(broker, 2)
    await eventually(lambda: bus.connected)
    entry = await running.service.submit(Deposit("after", 1))
    assert entry is not None and entry.seq > last_seq
    await eventually(lambda: len(running.held.times) == 6)
    assert set(running.held.times.values()) == {1}
    assert min(running.held.seqs[f"d{n}"] for n in range(1, 5)) > last_seq
    assert len(recoveries) == 2, "the shell is told to reconcile anew"
    await running.end()


@pytest.mark.parametrize("lost", ["the end", "everything"])
async def test_a_snapshot_that_is_ahead_of_the_journal_is_where_a_restart_goes_on(
    twin: Connect, broker: MemoryBroker, eventually: Eventually, lost: str
) -> None:
    bus = await twin("service")
    first = await a_worker(bus, eventually, 3)
    assert await first.end() == EXIT_OK
    if lost == "everything":
        del broker.streams[JOURNAL]
        await prepare(bus)
    else:
        power_loss(broker, 2)
        await eventually(lambda: bus.connected)
    second = Running(a_service(bus))
    await eventually(lambda: second.active)
    assert second.held.times == {"d0": 1, "d1": 1, "d2": 1}
    entry = await second.service.submit(Deposit("after", 1))
    assert entry is not None and entry.seq > 4
    await second.end()
    third = Running(a_service(bus))
    await eventually(lambda: third.active)
    assert len(third.held.times) == 4
    await third.end()


async def test_no_sequence_is_given_again_that_a_reader_has_seen(
    twin: Connect, broker: MemoryBroker, eventually: Eventually
) -> None:
    bus = await twin("service")
    await publish_cursor(bus, JOURNAL, "audience", 40)
    options = {"owns": (JOURNAL,), "pace": Pace(tidy_s=0.02)}
    running = await a_worker(bus, eventually, 1, **options)
    assert running.service.last_seq == 41
    await publish_cursor(bus, JOURNAL, "audience", 90)
    await eventually(lambda: running.service.last_seq == 90)
    await running.end()


async def test_whoever_holds_something_of_a_lost_entry_has_its_sequence_left_out(
    connect: Connect, eventually: Eventually
) -> None:
    bus = await connect("service")
    raised: list[int] = []
    service = a_service(bus, on_raised=lambda: raised.append(service.last_seq))
    running = Running(service)
    await eventually(lambda: running.active)
    service.raise_to(1)
    service.raise_to(1_000)
    await eventually(lambda: raised)
    assert raised == [1_000] and service.last_seq == 1_000
    entry = await service.submit(Deposit("after", 1))
    assert entry is not None and entry.seq == 1_001
    assert service.count()["entries_lost"] == 999
    await running.end()
    facts = [entry["facts"] for entry in await journal_of(bus)]
    assert len(facts) == 1_001 and not any(facts[:-1])


async def test_a_claim_beyond_all_reason_is_refused_and_counted(
    twin: Connect, eventually: Eventually
) -> None:
    running = await a_worker(await twin("service"), eventually, 1)
    running.service.raise_to(engine.PADDING_MAX + 100)
    await eventually(lambda: running.service.count().get("raises_refused"))
    entry = await running.service.submit(Deposit("after", 1))
    assert entry is not None and entry.seq == 3
    await running.end()


async def test_filling_lost_places_survives_lost_acknowledgements(
    twin: Connect, broker: MemoryBroker, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock_runtime.journal.APPEND_S_MAX", 0.2)
    running = await a_worker(await twin("service"), eventually, 1)
    running.service.raise_to(5_000)
    await until(lambda: broker.streams[JOURNAL].last_seq > 600)
    broker.partition("service", "from_broker")
    await eventually(lambda: running.service.count().get("append_retries"))
    assert running.service.last_seq < broker.streams[JOURNAL].last_seq
    broker.heal("service")
    await eventually(lambda: running.service.last_seq == 5_000)
    assert broker.streams[JOURNAL].last_seq == 5_000
    await running.end()


async def test_a_rival_who_wrote_where_the_end_was_lost_is_obeyed(
    twin: Connect, broker: MemoryBroker, eventually: Eventually
) -> None:
    bus = await twin("service")
    running = await a_worker(bus, eventually, 4)
    power_loss(broker, 2)
    await eventually(lambda: bus.connected)
    await bus.append(JOURNAL_SUBJECT, a_foreign_entry(running.service.term + 1))
    running.service.offer(Deposit("after", 1))
    assert await running.task == 75


async def test_nobody_goes_on_behind_as_many_entries_of_a_successor_as_were_lost(
    twin: Connect, broker: MemoryBroker, eventually: Eventually
) -> None:
    """The sequence fits, and the journal is another's."""
    bus, other = await twin("service"), await twin("successor")
    running = await a_worker(bus, eventually, 2)
    last_seq = running.service.last_seq
    broker.partition("service")
    power_loss(broker, last_seq - 1)
    await eventually(lambda: other.connected)
    entry = a_foreign_entry(term=running.service.term + 1)
    await other.append(JOURNAL_SUBJECT, entry, expected_last_seq=last_seq - 1)
    broker.heal("service")
    await eventually(lambda: bus.connected)
    running.service.submit(Deposit("late", 1))
    assert await running.task == EXIT_STEPPED_DOWN
    assert (await bus.stream_state(JOURNAL)).last_seq == last_seq


@pytest.mark.parametrize("call", range(1, 8))
async def test_a_successor_may_write_where_the_end_was_lost_while_we_look_for_it(
    twin: Connect,
    broker: MemoryBroker,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    call: int,
) -> None:
    """Before whichever of our calls it does: only the last of them puts the lost entry back."""
    bus, other = await twin("service"), await twin("successor")
    running = await a_worker(bus, eventually, 2)
    last_seq, calls = running.service.last_seq, 0

    def overtaken(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def ask(place: str, *args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += place in (JOURNAL, JOURNAL_SUBJECT)
            if calls == call and (await other.stream_state(JOURNAL)).last_seq < last_seq:
                entry = a_foreign_entry(term=running.service.term + 1)
                await other.append(JOURNAL_SUBJECT, entry, expected_last_seq=last_seq - 1)
            return await method(place, *args, **options)

        return ask

    power_loss(broker, last_seq - 1)
    await eventually(lambda: bus.connected and other.connected)
    for name in ("append", "read", "stream_state"):
        monkeypatch.setattr(bus, name, overtaken(getattr(bus, name)))
    late = running.service.submit(Deposit("late", 1))
    await asyncio.wait((late, running.task), return_when=asyncio.FIRST_COMPLETED)
    assert not late.done() and await running.task == EXIT_STEPPED_DOWN
    assert (await bus.stream_state(JOURNAL)).last_seq == last_seq


@pytest.mark.parametrize("last", ["padding", "an entry", "one forgotten"])
async def test_nobody_is_let_in_behind_a_successor_whatever_it_was_that_was_lost(
    twin: Connect,
    broker: MemoryBroker,
    eventually: Eventually,
    last: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if last == "one forgotten":
        monkeypatch.setattr("penstock_runtime.journal.RECENT_MAX", 0)
    bus = await twin("service")
    running = await a_worker(bus, eventually, 3)
    if last == "padding":
        running.service.raise_to(6)
        await eventually(lambda: running.service.last_seq == 6)
    last_seq = running.service.last_seq
    power_loss(broker, last_seq - 1)
    await eventually(lambda: bus.connected)
    await bus.append(JOURNAL_SUBJECT, a_foreign_entry(running.service.term + 1))
    late = running.service.submit(Deposit("late", 1))
    await asyncio.wait((late, running.task), return_when=asyncio.FIRST_COMPLETED)
    assert not late.done() and await running.task == EXIT_STEPPED_DOWN
    assert (await bus.stream_state(JOURNAL)).last_seq == last_seq


async def test_a_predecessor_that_wrote_where_the_end_was_lost_is_folded_once(
    twin: Connect, broker: MemoryBroker, eventually: Eventually
) -> None:
    bus = await twin("service")
    running = await a_worker(bus, eventually, 3)
    last_seq = running.service.last_seq
    power_loss(broker, last_seq - 1)
    await eventually(lambda: bus.connected)
    await bus.append(JOURNAL_SUBJECT, a_foreign_entry(running.service.term - 1))
    async with asyncio.timeout(10):
        entry = await running.service.submit(Deposit("late", 1))
    assert entry is not None and entry.seq == last_seq + 1
    assert running.service.count()["rivals"] == 1
    await running.end()
