"""Does a standby follow, and take over at once, without losing or doubling anything?"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from conftest import Eventually
from penstock_bus.memory_broker import MemoryBroker
from penstock_runtime.leadership import Holder, Leadership
from penstock_runtime.pace import Pace
from penstock_runtime.process import EXIT_OK, EXIT_STEPPED_DOWN
from runtime.conftest import Connect
from runtime.tally import JOURNAL, Deposit, Running, a_service, deposit

QUICK = Pace(tidy_s=0.02, refresh_s=0.05, silence_s=0.3, poll_s=0.02)


def elsewhere(writer: str) -> Holder:
    """Every instance on a host of its own: none can see whether another's process is gone."""
    return Holder(writer=writer, host=f"host-of-{writer}", pid=1, pid_start=1)


def an_instance(bus: Any, **options: Any) -> Running:
    options = {"leadership": None, "identify": elsewhere, "pace": QUICK} | options
    return Running(a_service(bus, **options))


async def a_pair(connect: Connect, eventually: Eventually) -> tuple[Any, Running, Running]:
    """An active instance with its bus, and one that stands by."""
    bus = await connect("one")
    first = an_instance(bus)
    await eventually(lambda: first.active)
    second = an_instance(await connect("two"))
    await eventually(lambda: "tally-" in (second.service.why_not_ready() or ""))
    return bus, first, second


async def test_a_standby_folds_what_is_committed_as_it_is_committed(
    connect: Connect, eventually: Eventually
) -> None:
    _, first, second = await a_pair(connect, eventually)
    for number in range(5):
        await first.service.submit(Deposit(f"d{number}", 1))
        seq = first.service.last_seq
        await eventually(lambda n=seq: f"standby at {n}:" in (second.service.why_not_ready() or ""))
    assert not second.active and second.service.last_seq == 0
    assert await first.end() == EXIT_OK
    await second.end()


async def test_a_clean_stop_hands_over_and_nothing_is_folded_again(
    twin: Connect, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    _, first, second = await a_pair(twin, eventually)
    for number in range(5):
        await first.service.submit(Deposit(f"d{number}", 1))
    seq = first.service.last_seq
    await eventually(lambda: f"at {seq}:" in (second.service.why_not_ready() or ""))
    caplog.set_level("INFO")
    caplog.clear()
    await first.end()
    await eventually(lambda: second.active)
    assert second.held.times == {f"d{number}": 1 for number in range(5)}
    (record,) = [r for r in caplog.records if r.message == "recovered"]
    assert record.snapshot_seq == 0, "not even the snapshot that was taken at the end was needed"
    await second.end()


async def test_a_killed_instance_on_another_host_is_replaced_when_it_has_been_silent(
    connect: Connect, eventually: Eventually
) -> None:
    bus, first, second = await a_pair(connect, eventually)
    await first.service.submit(Deposit("before", 1))
    await first.kill()
    await eventually(lambda: second.active)
    await deposit(bus, "after")
    await eventually(lambda: second.held.times == {"before": 1, "after": 1})
    assert second.service.term == 2
    await second.end()


async def test_an_instance_that_was_cut_off_finds_that_it_was_replaced(
    twin: Connect, broker: MemoryBroker, eventually: Eventually
) -> None:
    _, first, second = await a_pair(twin, eventually)
    broker.partition("one")
    lost = first.service.submit(Deposit("lost", 1))
    await eventually(lambda: second.active)
    await second.service.submit(Deposit("kept", 1))
    broker.heal("one")
    assert await first.task == EXIT_STEPPED_DOWN
    assert not lost.done() and second.held.times == {"kept": 1}
    await second.end()


async def test_an_outage_of_the_broker_is_no_silence_of_the_holder(
    twin: Connect, broker: MemoryBroker, eventually: Eventually
) -> None:
    bus, first, second = await a_pair(twin, eventually)
    broker.crash()
    await asyncio.wait({second.task}, timeout=2 * QUICK.silence_s)
    broker.start()
    await eventually(lambda: bus.connected)
    await first.service.submit(Deposit("after", 1))
    seq = first.service.last_seq
    await eventually(lambda: f"at {seq}:" in (second.service.why_not_ready() or ""))
    assert first.active and not second.active
    await first.end()
    await second.end()


async def test_a_standby_whose_place_was_purged_begins_again_from_a_snapshot(
    twin: Connect, broker: MemoryBroker, eventually: Eventually
) -> None:
    one = await twin("one")
    first = an_instance(one, snapshot_every=1, owns=(JOURNAL,))
    await eventually(lambda: first.active)
    second = an_instance(await twin("two"))
    await eventually(lambda: "at 1:" in (second.service.why_not_ready() or ""))
    broker.partition("two")
    for number in range(6):
        await first.service.submit(Deposit(f"d{number}", 1))
        await eventually(lambda: first.service._keeper._seq == first.service.last_seq)
    await eventually(lambda: broker.streams[JOURNAL].state().first_seq > 3)
    broker.heal("two")
    seq = first.service.last_seq
    await eventually(lambda: f"at {seq}:" in (second.service.why_not_ready() or ""))
    await first.end()
    await eventually(lambda: second.active)
    assert len(second.held.times) == 6
    await second.end()


async def test_a_released_lock_stays_released_while_its_holder_still_tidies(
    twin: Connect, eventually: Eventually
) -> None:
    bus = await twin("one")

    class Still:
        def monotonic_ns(self) -> int:
            return 0

        now_ns = boottime_ns = monotonic_ns

    times = {"clock": Still(), "refresh_s": 0.01, "poll_s": 0.01}
    lock = Leadership(bus, service="s", us=elsewhere("one"), **times)
    assert await lock.acquire(lambda: False)
    holding = asyncio.create_task(lock.hold())
    await lock.release()
    revision = (await bus.kv_get("LOCKS", "s")).revision
    await asyncio.wait({holding}, timeout=0.1)
    assert (await bus.kv_get("LOCKS", "s")).revision == revision
    other = Leadership(bus, service="s", us=elsewhere("two"), **times)
    assert await other.acquire(lambda: False), "though no time passes"
    holding.cancel()
