"""What does a reader do whose input has lost what was read of it?"""

from __future__ import annotations

from typing import Any

from conftest import Eventually
from penstock_bus.memory_broker import MemoryBroker
from penstock_runtime.cursors import read_cursors
from penstock_runtime.inputs import Input, InputQueue
from runtime.conftest import Connect
from runtime.tally import INPUT, Running, a_service, decode_deposit, deposit


def power_loss(broker: MemoryBroker, kept_seq: int) -> None:
    """The broker comes back with the input's first `kept_seq` messages."""
    broker.crash()
    broker.streams[INPUT].synced_seq = kept_seq
    broker.streams[INPUT].lose_unsynced()
    broker.start()


async def given_some(bus: Any, first: int, count: int) -> None:
    for number in range(first, first + count):
        await deposit(bus, f"d{number}")


async def test_messages_stored_anew_under_lost_sequences_are_all_read(
    twin: Connect, broker: MemoryBroker, eventually: Eventually
) -> None:
    bus, giver = await twin("service"), await twin("giver")
    running = Running(a_service(bus))
    await given_some(giver, 0, 5)
    await eventually(lambda: len(running.held.times) == 5)
    broker.partition("service")
    power_loss(broker, 3)
    await eventually(lambda: giver.connected)
    await given_some(giver, 5, 4)  # the stream is longer than what was read of it
    broker.heal("service")
    await eventually(lambda: len(running.held.times) == 9)
    assert running.service.count()["input_rewinds"] == 1
    await running.end()


async def test_a_restart_recognises_them_too(
    twin: Connect, broker: MemoryBroker, eventually: Eventually
) -> None:
    bus, giver = await twin("service"), await twin("giver")
    running = Running(a_service(bus))
    await given_some(giver, 0, 5)
    await eventually(lambda: len(running.held.times) == 5)
    await running.end()
    power_loss(broker, 3)
    await eventually(lambda: giver.connected)
    await given_some(giver, 5, 4)
    again = Running(a_service(await twin("again")))
    await eventually(lambda: again.active and len(again.held.times) == 9)
    await again.end()


async def test_what_is_as_it_was_is_not_read_again_after_an_outage(
    twin: Connect, broker: MemoryBroker, eventually: Eventually
) -> None:
    bus, giver = await twin("service"), await twin("giver")
    running = Running(a_service(bus))
    await given_some(giver, 0, 5)
    await eventually(lambda: len(running.held.times) == 5)
    broker.crash()
    broker.start()
    await eventually(lambda: giver.connected)
    await given_some(giver, 5, 1)
    await eventually(lambda: len(running.held.times) == 6)
    assert set(running.held.times.values()) == {1}
    assert running.service.count()["input_rewinds"] == 0
    await running.end()


async def test_a_reader_of_another_s_journal_says_how_far_it_was_and_waits_there(
    twin: Connect, broker: MemoryBroker, eventually: Eventually
) -> None:
    bus = await twin("reader")
    await given_some(bus, 0, 5)
    power_loss(broker, 2)
    await eventually(lambda: bus.connected)
    woken: list[int] = []
    queue = InputQueue(bus, Input(INPUT, decode_deposit, reader="me"), lambda: woken.append(1))
    assert await queue.open(5) == 5
    assert queue.gather() and not queue.buffer

    async def said() -> bool:
        return (await read_cursors(bus)).get(f"{INPUT}.me-seen") == 5

    await eventually(said)
    await given_some(bus, 5, 4)  # its owner has moved it beyond what we had read
    await eventually(lambda: woken)
    assert not queue.gather(), "it is to be opened again"
    await queue.open(5)
    await eventually(lambda: queue.gather() and queue.buffer)
    assert queue.buffer[0].seq == 6
    await queue.close()
