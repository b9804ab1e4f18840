"""Does a journaled service process its input exactly once and let out only what is committed?"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from conftest import Eventually
from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.port import Message, StoredMessage
from penstock_contracts.errors import InvariantError
from penstock_contracts.journal import ENTRY_BYTES_MAX
from penstock_runtime import journal
from penstock_runtime.clock import VirtualClock
from penstock_runtime.entries import Committed
from penstock_runtime.process import EXIT_OK
from runtime.conftest import Connect
from runtime.tally import (
    INPUT,
    INPUT_SUBJECT,
    JOURNAL,
    JOURNAL_SUBJECT,
    Deposit,
    Running,
    a_service,
    deposit,
    journal_of,
    total_handler,
)


async def test_input_becomes_facts_in_the_journal_with_its_cursor(
    connect: Connect, eventually: Eventually
) -> None:
    bus = await connect("a")
    running = Running(a_service(bus))
    for name in ("a", "b", "c"):
        await deposit(bus, name, 5)
    await eventually(lambda: running.held.settled == 3)
    assert await running.end() == EXIT_OK

    entries = await journal_of(bus)
    assert entries[0]["facts"] == [], "a term opens with an entry of its own"
    facts = [fact for entry in entries for fact in entry["facts"]]
    assert [fact["fact"] for fact in facts] == ["deposited"] * 3 + ["rounded"]
    assert entries[-1]["cursors"] == {INPUT: 3}
    assert {entry["term"] for entry in entries} == {1}


async def test_a_restart_goes_on_where_the_journal_ends(
    connect: Connect, eventually: Eventually
) -> None:
    bus = await connect("a")
    first = Running(a_service(bus))
    await deposit(bus, "a", 2)
    await eventually(lambda: first.held.total == 2)
    await first.end()
    await deposit(bus, "b", 3)

    second = Running(a_service(bus))
    await eventually(lambda: second.active and second.held.total == 5)
    assert second.held.times == {"a": 1, "b": 1}
    assert second.service.term == 2
    await second.end()


async def test_effects_and_replies_come_after_the_acknowledgement(
    twin: Connect, broker: MemoryBroker, eventually: Eventually
) -> None:
    bus = await twin("a")
    seen: list[tuple[Committed, int]] = []
    journal = broker.streams[JOURNAL]
    service = a_service(bus, on_commit=lambda entry: seen.append((entry, journal.last_seq)))
    running = Running(service)
    await eventually(lambda: running.active)
    last_seq = service.last_seq
    entry = await service.submit(Deposit("a", 7))
    assert entry is not None and entry.seq == last_seq + 1
    assert [fact.name for fact in entry.facts] == ["a"]
    assert seen == [(entry, entry.seq)]
    assert await service.submit(Deposit("nothing", 0)) is None
    await running.end()


async def test_queries_never_see_what_is_not_committed(
    twin: Connect,
    broker: MemoryBroker,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal, "APPEND_S_MAX", 0.2)
    bus, asker = await twin("service"), await twin("asker")
    service = a_service(bus)
    service.answer("test.query", total_handler(lambda: service))
    running = Running(service)
    await eventually(lambda: running.active)
    done = service.submit(Deposit("a", 7))
    broker.partition("service", "to_broker")
    await eventually(lambda: running.held.total == 7)  # speculative: the append cannot arrive
    asking = asyncio.create_task(asker.request("test.query", b"", timeout_s=30))
    await eventually(lambda: service._answers.waiting)
    assert not asking.done() and not done.done()
    broker.heal("service")
    answer = await asking
    assert msgspec.json.decode(answer.payload)["total"] == 7
    assert done.done()
    await asker.request("test.query", b"", timeout_s=1)  # nothing in flight: at once
    await running.end()


async def test_an_entry_closes_at_its_size_and_the_decision_continues_in_the_next(
    connect: Connect, eventually: Eventually
) -> None:
    bus = await connect("a")
    running = Running(a_service(bus))
    await deposit(bus, "big", 1, copies=30, padding=100_000)
    await eventually(lambda: running.held.times.get("big") == 30)
    await running.end()

    state = await bus.stream_state(JOURNAL)
    sizes = []
    for seq in range(state.first_seq, state.last_seq + 1):
        message = await bus.read(JOURNAL, seq)
        sizes.append(len(message.payload))
    assert max(sizes) <= ENTRY_BYTES_MAX
    assert sum(sizes) > 30 * 100_000
    entries = await journal_of(bus)
    with_facts = [entry for entry in entries if entry["facts"]]
    assert all(entry["cursors"] == {INPUT: 0} for entry in with_facts[:5]), (
        "the message is consumed only by the entry that completes its decision"
    )
    assert with_facts[-1]["cursors"] == {INPUT: 1}


async def test_facts_of_one_small_decision_stay_in_one_entry(
    twin: Connect, eventually: Eventually
) -> None:
    bus = await twin("a")
    for number in range(8):
        await deposit(bus, f"d{number}", 1, copies=2, padding=100_000)
    running = Running(a_service(bus))
    await eventually(lambda: len(running.held.times) == 8)
    await running.end()
    for entry in await journal_of(bus):
        names = [fact["name"] for fact in entry["facts"] if fact["fact"] == "deposited"]
        assert all(names.count(name) == 2 for name in names)


async def test_bad_bytes_are_consumed_like_any_input(
    connect: Connect, eventually: Eventually
) -> None:
    bus = await connect("a")
    await bus.append(INPUT_SUBJECT, b"\xff{not json")
    await deposit(bus, "a")
    running = Running(a_service(bus))
    await eventually(lambda: running.service.cursors == {INPUT: 2})
    assert running.held.times == {"a": 1}
    await running.end()


async def test_input_without_consequence_does_not_write_an_entry_per_message(
    twin: Connect, eventually: Eventually
) -> None:
    bus, clock = await twin("a"), VirtualClock()
    running = Running(a_service(bus, clock=clock))
    await eventually(lambda: running.active)
    for _ in range(50):
        await deposit(bus, "nothing", 0)
    await eventually(lambda: running.service.cursors == {INPUT: 50})
    entries = len(await journal_of(bus))
    assert entries <= 2
    clock.advance(11 * 10**9)
    await deposit(bus, "nothing", 0)
    await eventually(lambda: running.service.cursors == {INPUT: 51})
    assert (await journal_of(bus))[-1]["cursors"] == {INPUT: 51}
    await running.end()


async def test_time_never_goes_back(twin: Connect, eventually: Eventually) -> None:
    bus, clock = await twin("a"), VirtualClock()
    running = Running(a_service(bus, clock=clock))
    await eventually(lambda: running.active)
    await running.service.submit(Deposit("a", 1))
    clock.step_wall(-3600 * 10**9)
    await running.service.submit(Deposit("b", 1))
    await running.end()
    again = Running(a_service(bus, clock=clock))
    await eventually(lambda: again.active)
    await again.service.submit(Deposit("c", 1))
    await again.end()
    times = [entry["now_ns"] for entry in await journal_of(bus)]
    assert times == sorted(times)


async def test_what_is_offered_to_a_service_that_is_not_active_is_dropped_and_counted(
    twin: Connect,
) -> None:
    service = a_service(await twin("a"))
    assert service.offer(Deposit("a", 1)) is False
    assert service.submit(Deposit("a", 1)).cancelled()
    assert service.count()["offers_dropped"] == 2


async def test_a_query_that_fails_is_answered_and_a_bug_in_one_ends_the_service(
    twin: Connect, eventually: Eventually
) -> None:
    bus, asker = await twin("service"), await twin("asker")
    service = a_service(bus)

    def break_down(message: Message) -> bytes:
        raise InvariantError("two and two are five")

    service.answer("test.bad", lambda message: bytes(message.payload[7]))
    service.answer("test.bug", break_down)
    running = Running(service)
    await eventually(lambda: running.active)
    answer = await asker.request("test.bad", b"", timeout_s=5)
    assert msgspec.json.decode(answer.payload)["refusal"]["code"] == "unavailable"
    assert service.count()["queries_failed"] == 1
    await asker.request("test.bug", b"", timeout_s=5)
    with pytest.raises(InvariantError, match="five"):
        await running.task


async def test_a_stop_ends_a_recovery_that_waits_for_the_broker(
    twin: Connect, broker: MemoryBroker, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = await twin("service")
    first = Running(a_service(bus))
    await eventually(lambda: first.active)
    await first.end()
    await bus.append(JOURNAL_SUBJECT, b"{}")  # behind the snapshot, to be replayed

    class Stuck:
        async def next_batch(self) -> list[StoredMessage]:
            await asyncio.get_running_loop().create_future()
            raise RuntimeError("never")

        async def close(self) -> None: ...

    async def reader(*_: object, **__: object) -> Stuck:
        return Stuck()

    monkeypatch.setattr(bus, "reader", reader)
    second = Running(a_service(bus))
    await eventually(lambda: second.service.phase == "recovering")
    assert await second.end() == EXIT_OK
