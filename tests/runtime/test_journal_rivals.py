"""What happens when an acknowledgement is lost, or somebody else writes the journal?"""

from __future__ import annotations

import asyncio

import pytest

from conftest import Eventually
from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.port import BusRefusal
from penstock_runtime import journal
from penstock_runtime.process import EXIT_STEPPED_DOWN
from runtime.conftest import Connect
from runtime.tally import (
    JOURNAL_SUBJECT,
    Deposit,
    EverybodyLeads,
    Running,
    a_foreign_entry,
    a_service,
    deposit,
    journal_of,
)


@pytest.fixture(autouse=True)
def quick_time_outs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "APPEND_S_MAX", 0.2)


async def test_a_lost_acknowledgement_commits_once(
    twin: Connect, broker: MemoryBroker, eventually: Eventually
) -> None:
    bus = await twin("service")
    running = Running(a_service(bus))
    await eventually(lambda: running.active)
    broker.partition("service", "from_broker")
    done = running.service.submit(Deposit("a", 1))
    await eventually(lambda: running.service.count().get("append_retries"))
    assert not done.done()
    broker.heal("service")
    async with asyncio.timeout(10):
        entry = await done
    assert entry is not None
    assert running.service.count()["acks_lost"] == 1
    await running.end()
    stored = [fact for e in await journal_of(await twin("eye")) for fact in e["facts"]]
    assert [fact["name"] for fact in stored] == ["a"]


async def test_the_broker_may_die_while_an_append_is_in_flight(
    twin: Connect, broker: MemoryBroker, eventually: Eventually
) -> None:
    running = Running(a_service(await twin("service")))
    await eventually(lambda: running.active)
    done = running.service.submit(Deposit("a", 1))
    await asyncio.sleep(0)
    broker.crash()
    await eventually(running.service.why_not_ready)
    broker.start()
    async with asyncio.timeout(10):
        assert (await done) is not None
    assert running.held.times == {"a": 1}
    assert await eventually(lambda: running.service.why_not_ready() is None)
    await running.end()


async def test_a_rival_of_a_higher_term_ends_this_process(
    connect: Connect, eventually: Eventually
) -> None:
    bus = await connect("service")
    running = Running(a_service(bus))
    await eventually(lambda: running.active)
    await bus.append(JOURNAL_SUBJECT, a_foreign_entry(running.service.term + 1))
    running.service.offer(Deposit("mine", 1))
    assert await running.task == EXIT_STEPPED_DOWN
    assert all(not entry["facts"] for entry in await journal_of(bus))


async def test_an_entry_of_a_lower_term_is_folded_and_the_rest_decided_again(
    connect: Connect, eventually: Eventually
) -> None:
    bus = await connect("service")
    recoveries: list[int] = []
    service = a_service(bus, on_recovered=lambda: recoveries.append(service.last_seq))
    running = Running(service)
    await eventually(lambda: running.active)
    theirs = {"fact": "deposited", "name": "theirs", "amount": 10}
    await bus.append(JOURNAL_SUBJECT, a_foreign_entry(0, theirs))
    done = service.submit(Deposit("mine", 1))
    await deposit(bus, "input", 5)
    async with asyncio.timeout(10):
        assert await done is not None
    await eventually(lambda: running.held.total == 16)
    assert running.held.times == {"theirs": 1, "mine": 1, "input": 1}
    assert service.count()["rivals"] == 1
    assert len(recoveries) == 2, "the shell is told to reconcile anew"
    await running.end()


async def test_input_of_a_discarded_transition_is_read_again(
    connect: Connect, eventually: Eventually
) -> None:
    bus = await connect("service")
    running = Running(a_service(bus))
    await eventually(lambda: running.active)
    for number in range(5):
        theirs = {"fact": "deposited", "name": f"theirs{number}", "amount": 1}
        await bus.append(JOURNAL_SUBJECT, a_foreign_entry(0, theirs))
        await deposit(bus, f"ours{number}")
        await eventually(lambda n=number: running.held.total == 2 * n + 2)
        await eventually(lambda n=number: running.service.count().get("rivals") == n + 1)
    assert set(running.held.times.values()) == {1}
    assert len(running.held.times) == 10
    await running.end()


async def test_an_undecodable_entry_is_skipped_and_counted(
    connect: Connect, eventually: Eventually
) -> None:
    bus = await connect("service")
    first = Running(a_service(bus))
    await eventually(lambda: first.active)
    await bus.append(JOURNAL_SUBJECT, b"\x00 not an entry")
    assert await first.service.submit(Deposit("a", 1)) is not None
    assert first.service.count()["entries_skipped"] >= 1
    assert first.held.times == {"a": 1}
    await first.end()

    second = Running(a_service(bus))
    await eventually(lambda: second.active)
    assert second.held.times == {"a": 1}
    await second.end()


async def test_of_two_writers_at_once_only_one_commits(
    connect: Connect, eventually: Eventually
) -> None:
    one, two = await connect("one"), await connect("two")

    rivals = [Running(a_service(bus, leadership=EverybodyLeads())) for bus in (one, two)]
    for number in range(50):
        await deposit(one, f"d{number}")
    await eventually(lambda: any(rival.task.done() for rival in rivals))
    left = [rival for rival in rivals if not rival.task.done()]
    assert len(left) == 1, "exactly one goes on"
    await eventually(lambda: left[0].held.total == 50)
    assert set(left[0].held.times.values()) == {1}
    await left[0].end()
    names = [f["name"] for e in await journal_of(one) for f in e["facts"] if "name" in f]
    assert sorted(names) == sorted(f"d{number}" for number in range(50))


async def test_a_full_journal_is_said_and_waited_out(
    twin: Connect, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "REFUSED_RETRY_S", 0.01)
    bus = await twin("service")
    running = Running(a_service(bus))
    await eventually(lambda: running.active)
    append, full = bus.append, True

    async def refuse(*args: object, **options: object) -> object:
        if full:
            raise BusRefusal(10077, "maximum bytes exceeded")
        return await append(*args, **options)

    monkeypatch.setattr(bus, "append", refuse)
    done = running.service.submit(Deposit("a", 1))
    reason = await eventually(running.service.why_not_ready)
    assert "maximum bytes exceeded" in reason
    full = False
    assert await done is not None
    assert running.service.why_not_ready() is None
    await running.end()
