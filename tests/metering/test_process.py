"""Does the real process survive kills, say when it is ready, and stop when asked?"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metering.mesh import prepare
from metering.processes import Instance, a_long_story, audit_when_sold
from metering.world import World
from penstock_bus.port import Bus
from penstock_runtime.process import EXIT_STEPPED_DOWN

Start = Callable[..., Instance]


@pytest.fixture
def start(nats_server: Any, tmp_path: Path) -> Iterator[Start]:
    """Starts metering; all share one data directory. Whatever still runs is killed afterwards."""
    started: list[Instance] = []

    def launch(*, quick: bool = False) -> Instance:
        started.append(Instance(tmp_path, nats_server.url, quick=quick))
        return started[-1]

    yield launch
    for instance in started:
        instance.kill()


async def test_kills_at_any_time_lose_and_double_nothing(
    bus: Bus, start: Start, eventually: Any
) -> None:
    await prepare(bus)
    world, sold = a_long_story(600)
    instance = start()
    await eventually(lambda: instance.is_ready, timeout_s=30)
    kills = 0
    for name in ("NODES", "JOBS", "USAGE"):
        for message in world.streams[name]:
            await bus.append(message.subject, message.payload)
            if message.seq % 900 == 450:
                instance.restart()
                kills += 1
    assert kills >= 3
    await eventually(lambda: instance.is_ready, timeout_s=30)
    said = await audit_when_sold(bus, world, sold)
    assert (said.unaccounted_ms, said.findings) == (0, ())
    assert (said.accepted, said.finished) == (600, {"succeeded": 600})
    assert said.device_milli_ms["sold"] == sold
    await eventually(
        lambda: "penstock_metering_unaccounted_ms 0" in instance.fetch("/metrics")[1], timeout_s=30
    )
    status, page = instance.fetch("/metrics")
    assert status == 200
    assert "penstock_metering_active 1" in page
    assert 'penstock_metering_lag_messages{stream="JOBS"} 0' in page
    instance.send(signal.SIGTERM)
    assert instance.process.wait(timeout=15) == 0


@pytest.mark.long
@pytest.mark.lesson(21)
async def test_two_hundred_kills_while_it_reads_lose_and_double_nothing(
    bus: Bus, start: Start, eventually: Any
) -> None:
    await prepare(bus)
    world, sold = a_long_story(3_000)
    said = [message for name in ("NODES", "JOBS", "USAGE") for message in world.streams[name]]
    kills, chance = 200, random.Random(200)
    instance = start(quick=True)
    for life in range(kills):
        await eventually(lambda: instance.is_ready, timeout_s=30)
        told = said[life * len(said) // kills : (life + 1) * len(said) // kills]
        moment = chance.randrange(len(told))
        for place, message in enumerate(told):
            if place == moment:
                instance.kill()
            await bus.append(message.subject, message.payload)
        instance.restart()
    await eventually(lambda: instance.is_ready, timeout_s=30)
    audited = await audit_when_sold(bus, world, sold)
    assert (audited.unaccounted_ms, audited.findings) == (0, ())
    assert (audited.accepted, audited.finished) == (3_000, {"succeeded": 3_000})
    assert audited.device_milli_ms["sold"] == sold


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_standby_takes_over_from_one_that_is_gone(
    bus: Bus, start: Start, eventually: Any, how: signal.Signals
) -> None:
    await prepare(bus)
    world, sold = a_long_story(200)
    active = start()
    await eventually(lambda: active.is_ready, timeout_s=30)
    standby = start()
    await eventually(lambda: standby.stands_by, timeout_s=30)
    assert "penstock_metering_active 0" in standby.fetch("/metrics")[1]
    for name in ("NODES", "JOBS", "USAGE"):
        for message in world.streams[name]:
            await bus.append(message.subject, message.payload)
            if (name, message.seq) == ("JOBS", len(world.streams["JOBS"]) // 2):
                active.send(how)
    assert active.process.wait(timeout=15) == (0 if how is signal.SIGTERM else -how)
    await eventually(lambda: standby.is_ready, timeout_s=30)
    said = await audit_when_sold(bus, world, sold)
    assert (said.unaccounted_ms, said.findings) == (0, ())
    assert (said.accepted, said.device_milli_ms["sold"]) == (200, sold)


async def test_one_that_was_frozen_and_superseded_changes_nothing_and_steps_down(
    bus: Bus, start: Start, eventually: Any
) -> None:
    await prepare(bus)
    world, sold = a_long_story(200)
    active = start(quick=True)
    await eventually(lambda: active.is_ready, timeout_s=30)
    standby = start(quick=True)
    await eventually(lambda: standby.stands_by, timeout_s=30)
    for name in ("NODES", "JOBS", "USAGE"):
        for message in world.streams[name]:
            await bus.append(message.subject, message.payload)
            if (name, message.seq) == ("JOBS", len(world.streams["JOBS"]) // 2):
                active.send(signal.SIGSTOP)
    await eventually(lambda: standby.is_ready, timeout_s=30)
    before = await audit_when_sold(bus, world, sold)
    active.send(signal.SIGCONT)
    ended = active.process.wait(timeout=30)
    assert ended in (EXIT_STEPPED_DOWN, -signal.SIGKILL)  # killed when it held the file's lock
    after = await audit_when_sold(bus, world, sold)
    assert (after.unaccounted_ms, after.findings) == (0, ())
    assert (after.accepted, after.device_milli_ms["sold"]) == (200, sold)
    assert after.device_milli_ms == before.device_milli_ms
    assert standby.is_ready


async def test_a_broker_that_is_killed_is_waited_for(
    nats_server: Any, bus: Bus, start: Start, eventually: Any
) -> None:
    await prepare(bus)
    world = World()
    agent = world.a_node(gpus=1)
    instance = start()
    await eventually(lambda: instance.is_ready, timeout_s=30)
    nats_server.restart()
    await eventually(lambda: bus.connected and bus.counters["reconnects"], timeout_s=30)
    world.a_run("n1", agent.devices)
    agent.send()
    for messages in world.streams.values():
        for message in messages:
            await bus.append(message.subject, message.payload)
    await eventually(lambda: instance.is_ready, timeout_s=30)
    assert (await audit_when_sold(bus, world, 1_000_000)).device_milli_ms["sold"] == 1_000_000
    assert instance.process.poll() is None


async def test_before_its_streams_exist_it_waits_and_says_so(
    bus: Bus, start: Start, eventually: Any
) -> None:
    instance = start()
    waits = "the broker refuses the lock"
    await eventually(lambda: waits in instance.fetch("/readyz")[1], timeout_s=30)
    await prepare(bus)
    await eventually(lambda: instance.is_ready, timeout_s=30)
