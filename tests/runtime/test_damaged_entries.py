"""What becomes of a journal of which entries cannot be read any more?"""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Eventually
from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.port import StoredMessage
from runtime.conftest import Connect
from runtime.tally import JOURNAL, Running, a_service, deposit


def flip(broker: MemoryBroker, seq: int) -> None:
    """A bit on the disk; the broker did not notice."""
    stream = broker.streams[JOURNAL]
    message = stream.read(seq)
    assert message is not None
    damaged = bytes([message.payload[0] ^ 1]) + message.payload[1:]
    stream._messages[seq] = StoredMessage(message.subject, damaged, seq, message.time_ns)


def lose(broker: MemoryBroker, seq: int) -> None:
    """The broker found its checksum wrong and gives the message to nobody."""
    broker.streams[JOURNAL]._remove(seq)


async def killed_after(bus: Any, count: int, eventually: Eventually) -> None:
    """So many inputs are committed, one an entry behind the one that opened the term."""
    running = Running(a_service(bus))
    await eventually(lambda: running.active)
    for number in range(count):
        await deposit(bus, f"d{number}")
        await eventually(lambda n=number: running.service.last_seq == n + 2)
    await running.kill()


@pytest.mark.parametrize("damage", [flip, lose])
@pytest.mark.parametrize("seq", [2, 4, 7])
async def test_a_restart_skips_it_and_reads_again_what_was_in_it(
    twin: Connect, broker: MemoryBroker, eventually: Eventually, damage: Any, seq: int
) -> None:
    bus = await twin("one")
    await killed_after(bus, 6, eventually)
    damage(broker, seq)
    again = Running(a_service(await twin("two")))
    await eventually(lambda: again.active)
    await eventually(lambda: set(again.held.times) == {f"d{number}" for number in range(6)})
    assert again.service.count()["entries_skipped"] == 1
    assert again.held.times[f"d{seq - 2}"] == 1
    await again.end()


async def test_the_next_restart_has_left_it_behind(
    twin: Connect, broker: MemoryBroker, eventually: Eventually
) -> None:
    await killed_after(await twin("one"), 4, eventually)
    flip(broker, 3)
    again = Running(a_service(await twin("two")))
    await eventually(lambda: again.active)
    await eventually(lambda: again.service.count().get("snapshots"))
    await eventually(lambda: len(again.held.times) == 4)
    held = again.held
    await again.kill()
    third = Running(a_service(await twin("three")))
    await eventually(lambda: third.active)
    assert third.held.times == held.times
    assert third.service.count().get("entries_skipped", 0) == 0
    await third.end()


async def test_a_standby_goes_on_over_it(
    twin: Connect, broker: MemoryBroker, eventually: Eventually
) -> None:
    bus = await twin("one")
    first = Running(a_service(bus))
    await eventually(lambda: first.active)
    for number in range(3):
        await deposit(bus, f"d{number}")
        await eventually(lambda n=number: len(first.held.times) == n + 1)
    lose(broker, 2)
    second = Running(a_service(await twin("two")))
    seq = first.service.last_seq
    await eventually(lambda: f"at {seq}:" in (second.service.why_not_ready() or ""))
    await first.end()
    await eventually(lambda: second.active)
    assert len(second.held.times) == 3, "the snapshot of the end, or the input again"
    await second.end()
