"""Does the in-memory twin fail as asked, the same way for the same seed, and in virtual time?"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import pytest

from bus.conftest import a_stream
from bus.virtual_time import VirtualTimeLoop, run_virtual
from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.memory_link import Faults
from penstock_bus.port import (
    Appended,
    NoResponders,
    Outage,
    StoredMessage,
    StreamRewound,
    WrongSequence,
)

Scenario = Callable[[MemoryBroker], Awaitable[None]]


def check(scenario: Scenario, seed: int = 1) -> float:
    """Runs a scenario in virtual time; returns the seconds that passed in it."""
    loop = VirtualTimeLoop()

    async def main() -> float:
        await scenario(MemoryBroker(loop.time_ns, rng=random.Random(seed)))
        return loop.time()

    return run_virtual(main(), loop)


def test_hours_pass_in_a_moment() -> None:
    async def scenario(broker: MemoryBroker) -> None:
        bus = await memory.connect(broker, name="a")
        await bus.ensure_streams([a_stream(max_age_s=3_600)])
        await bus.append("event.a", b"old")
        await asyncio.sleep(3 * 3_600)
        assert (await bus.stream_state("EVENTS")).messages == 0

    started = time.perf_counter()
    assert check(scenario) >= 3 * 3_600
    assert time.perf_counter() - started < 5.0


async def traffic(broker: MemoryBroker) -> tuple[list[int], int, int]:
    """What arrives of 400 messages, and of 400 appends how many were stored and acknowledged."""
    bus = await memory.connect(broker, name="a")
    other = await memory.connect(broker, name="b")
    await bus.ensure_streams([a_stream()])
    got: list[int] = []
    await other.subscribe("s", lambda m: got.append(int(m.payload)))
    results: list[Appended | Exception] = []
    broker.set_faults(Faults(loss=0.1, duplication=0.1, reorder=0.1, delay_s_max=0.01))
    for n in range(400):
        bus.publish_nowait("s", b"%d" % n)
        bus.append_nowait("event.a", b"%d" % n, results.append, timeout_s=1.0)
    await asyncio.sleep(5.0)
    broker.set_faults(Faults())
    assert len(results) == 400  # every call has ended, once
    stored = (await bus.stream_state("EVENTS")).last_seq
    return got, stored, sum(isinstance(r, Appended) for r in results)


def outcome(seed: int) -> tuple[list[int], int, int]:
    loop = VirtualTimeLoop()

    async def main() -> tuple[list[int], int, int]:
        return await traffic(MemoryBroker(loop.time_ns, rng=random.Random(seed)))

    return run_virtual(main(), loop)


def test_messages_are_lost_doubled_delayed_and_reordered_and_acknowledgements_lost() -> None:
    got, stored, acknowledged = outcome(seed=7)
    assert len(set(got)) < 400  # lost
    assert len(got) > len(set(got))  # doubled
    assert got != sorted(got)  # reordered
    assert acknowledged < stored < 400  # requests and acknowledgements lost, appends never doubled


def test_the_same_seed_gives_the_same_story_and_another_gives_another() -> None:
    assert outcome(seed=7) == outcome(seed=7)
    assert outcome(seed=7) != outcome(seed=8)


def test_without_faults_a_link_keeps_order_whatever_the_delay() -> None:
    async def scenario(broker: MemoryBroker) -> None:
        broker.set_faults(Faults(delay_s_max=0.5))
        bus = await memory.connect(broker, name="a")
        got: list[int] = []
        await bus.subscribe("s", lambda m: got.append(int(m.payload)))
        for n in range(300):
            bus.publish_nowait("s", b"%d" % n)
        await asyncio.sleep(60)
        assert got == list(range(300))

    check(scenario)


def test_a_partition_cuts_one_client_off_and_heals() -> None:
    async def scenario(broker: MemoryBroker) -> None:
        bus = await memory.connect(broker, name="a")
        other = await memory.connect(broker, name="b")
        back: list[float] = []

        async def on_back() -> None:
            back.append(asyncio.get_running_loop().time())

        bus.on_reconnect(on_back)
        await bus.ensure_streams([a_stream()])
        await bus.subscribe("ask", lambda m: bus.respond_nowait(m, b"here"))
        reader = await bus.reader("EVENTS", after_seq=0)
        broker.partition("a")
        assert not bus.connected and other.connected
        with pytest.raises(Outage):
            bus.publish_nowait("x", b"")
        with pytest.raises(NoResponders):
            await other.request("ask", b"", timeout_s=1.0)
        await other.append("event.a", b"meanwhile")
        assert reader.take_ready() == []
        broker.heal("a")
        assert [m.payload for m in await reader.next_batch()] == [b"meanwhile"]
        await asyncio.sleep(1)
        assert bus.connected and len(back) == 1
        assert (await other.request("ask", b"", timeout_s=1.0)).payload == b"here"

    check(scenario)


def test_cut_off_from_the_broker_one_way_the_client_only_notices_silence() -> None:
    async def scenario(broker: MemoryBroker) -> None:
        bus = await memory.connect(broker, name="a")
        other = await memory.connect(broker, name="b")
        await bus.ensure_streams([a_stream()])
        got: list[bytes] = []
        await bus.subscribe("s", lambda m: got.append(m.payload))
        broker.partition("a", "to_broker")
        assert bus.connected
        bus.publish_nowait("s", b"lost")
        with pytest.raises(Outage):
            await bus.append("event.a", b"never arrives", timeout_s=1.0)
        await other.publish("s", b"heard")
        await asyncio.sleep(1)
        assert got == [b"heard"]
        broker.heal("a")
        assert (await bus.append("event.a", b"first", expected_last_seq=0)).seq == 1

    check(scenario)


def test_cut_off_from_answers_the_effect_happens_and_the_resend_is_refused() -> None:
    async def scenario(broker: MemoryBroker) -> None:
        bus = await memory.connect(broker, name="a")
        await bus.ensure_streams([a_stream()])
        reader = await bus.reader("EVENTS", after_seq=0)
        broker.partition("a", "from_broker")
        with pytest.raises(Outage):
            await bus.append("event.a", b"entry", expected_last_seq=0, timeout_s=1.0)
        assert reader.take_ready() == []
        broker.heal("a")
        with pytest.raises(WrongSequence):
            await bus.append("event.a", b"entry", expected_last_seq=0, timeout_s=1.0)
        assert [m.payload for m in await reader.next_batch()] == [b"entry"]

    check(scenario)


def test_a_crash_keeps_what_was_synced_and_a_power_failure_loses_the_rest() -> None:
    async def scenario(broker: MemoryBroker) -> None:
        bus = await memory.connect(broker, name="a")
        await bus.ensure_streams([a_stream(), a_stream("SAMPLES", "sample.>", memory=True)])
        await bus.append("event.a", b"1", message_id="m1")
        await bus.append("sample.a", b"1")
        broker.sync()
        await bus.append("event.a", b"2", message_id="m2")
        reader = await bus.reader("EVENTS", after_seq=0)
        assert len(await reader.next_batch()) == 2

        broker.crash()
        broker.start()
        await asyncio.sleep(1)
        assert (await bus.stream_state("EVENTS")).last_seq == 2
        assert "SAMPLES" not in broker.streams

        broker.crash(lose_unsynced=True)
        broker.start()
        await asyncio.sleep(1)
        assert (await bus.stream_state("EVENTS")).last_seq == 1
        assert (await bus.append("event.a", b"1", message_id="m1")).duplicate
        assert not (await bus.append("event.a", b"2", message_id="m2")).duplicate
        with pytest.raises(StreamRewound):  # it had read what is no longer true
            await reader.next_batch()

    check(scenario)


def test_a_killed_client_is_never_called_again() -> None:
    async def scenario(broker: MemoryBroker) -> None:
        bus = await memory.connect(broker, name="a")
        other = await memory.connect(broker, name="b")
        await bus.ensure_streams([a_stream()])
        called: list[object] = []
        await bus.subscribe("s", called.append)
        await other.publish("s", b"on its way")
        bus.append_nowait("event.a", b"", called.append)
        bus.request_nowait("nobody", b"", called.append, timeout_s=1.0)
        bus.kill()
        broker.crash()
        broker.start()
        await asyncio.sleep(1)
        await other.publish("s", b"after")
        await asyncio.sleep(60)
        assert called == [] and not bus.connected

    check(scenario)


def test_every_reader_gets_every_message_once_in_order_through_all_of_it() -> None:
    """Faults, partitions and crashes together, over many seeds."""

    async def scenario(broker: MemoryBroker) -> None:
        rng = random.Random(broker.rng.random() if broker.rng else 0)
        writer = await memory.connect(broker, name="writer")
        readers = [await memory.connect(broker, name=f"r{n}") for n in range(3)]
        await writer.ensure_streams([a_stream()])
        got: list[list[StoredMessage]] = [[] for _ in readers]
        broker.set_faults(Faults(loss=0.05, duplication=0.05, reorder=0.05, delay_s_max=0.02))

        async def follow(n: int) -> None:
            reader = await readers[n].reader("EVENTS", after_seq=0)
            while len(got[n]) < 150:
                got[n] += await reader.next_batch()

        async def write() -> None:
            for n in range(150):
                while True:
                    try:
                        await writer.append("event.a", b"%d" % n, message_id=f"m{n}", timeout_s=0.5)
                        break
                    except Outage:
                        await asyncio.sleep(0.05)

        async def disturb() -> None:
            for _ in range(10):
                await asyncio.sleep(rng.random())
                victim = rng.choice(["writer", "r0", "r1", "r2"])
                broker.partition(victim, rng.choice(["both", "to_broker", "from_broker"]))
                await asyncio.sleep(rng.random())
                broker.heal(victim)
                broker.crash()
                await asyncio.sleep(rng.random())
                broker.start()

        async with asyncio.timeout(600):
            await asyncio.gather(write(), disturb(), *(follow(n) for n in range(3)))
        for messages in got:
            assert [int(m.payload) for m in messages] == list(range(150))

    for seed in range(15):
        check(scenario, seed)
