"""What can befall a mesh?

One function per kind of fault: strikes the world somewhere, and says how it is undone. It does not
know when.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

import msgspec

from penstock_bus.memory_link import NO_FAULTS, Faults
from tests.simulation.hostility import send_rubbish
from tests.simulation.world import World

T = TypeVar("T")

STEPS_MAX = 3_000
"""A kill strikes before one of the victim's next steps, so at any await."""
YEAR_NS = 365 * 86_400 * 10**9


class Done(msgspec.Struct):
    """`undo` is called after `lasts_s` at the latest when faults end; None: nothing to undo."""

    sentence: str
    node: str | None = None
    undo: Callable[[], None] | None = None
    lasts_s: float = 0.0


class Kind(msgspec.Struct, frozen=True):
    name: str
    weight: float
    strike: Callable[[World, random.Random], Done | None]


def _some(rng: random.Random, things: list[T]) -> T | None:
    return rng.choice(things) if things else None


def _kill_service(world: World, rng: random.Random) -> Done | None:
    slot = _some(rng, [slot for slot in world.slots if slot.alive])
    if slot is None:
        return None
    steps = rng.choice((0, rng.randrange(1, 30), rng.randrange(1, STEPS_MAX)))
    slot.kill(steps=steps)
    return Done(f"{slot.name} is killed, {steps} steps on")


def _stop_service(world: World, rng: random.Random) -> Done | None:
    slot = _some(rng, [slot for slot in world.slots if slot.alive])
    if slot is None:
        return None
    slot.stop()
    return Done(f"{slot.name} is told to stop")


def _freeze_service(world: World, rng: random.Random) -> Done | None:
    slot = _some(rng, [slot for slot in world.slots if slot.alive])
    process = slot.process if slot is not None else None
    if slot is None or process is None or process.frozen:
        return None
    process.freeze()

    def thaw() -> None:
        if process.alive:
            process.thaw()

    return Done(f"{slot.name} is frozen", None, thaw, rng.choice((0.5, 4.0, 20.0, 90.0)))


def _kill_agent(world: World, rng: random.Random) -> Done | None:
    host = _some(rng, [host for host in world.hosts if host.agent_alive])
    if host is None:
        return None
    steps = rng.choice((0, rng.randrange(1, 30), rng.randrange(1, STEPS_MAX)))
    host.kill_agent(steps)
    return Done(f"the agent of {host.name} is killed, {steps} steps on", host.name)


def _stop_agent(world: World, rng: random.Random) -> Done | None:
    host = _some(rng, [host for host in world.hosts if host.agent_alive])
    if host is None:
        return None
    host.stop_agent()
    return Done(f"the agent of {host.name} is told to stop", host.name)


def _freeze_agent(world: World, rng: random.Random) -> Done | None:
    host = _some(rng, [host for host in world.hosts if host.agent_alive])
    if host is None:
        return None
    host.freeze_agent()
    return Done(
        f"the agent of {host.name} is frozen", host.name, host.thaw_agent, rng.choice((3, 20, 90))
    )


def _kill_reaper(world: World, rng: random.Random) -> Done | None:
    host = _some(rng, [host for host in world.hosts if host.reaper_alive])
    if host is None:
        return None
    steps = rng.choice((0, rng.randrange(1, 30), rng.randrange(1, 400)))
    host.kill_reaper(steps)
    return Done(f"the reaper of {host.name} is killed, {steps} steps on", host.name)


def _suspend_host(world: World, rng: random.Random) -> Done | None:
    host = _some(rng, [host for host in world.hosts if host.up and not host.suspended])
    if host is None:
        return None
    host.suspend()
    return Done(f"{host.name} is suspended", host.name, host.resume, rng.choice((5, 60, 300)))


def _reboot_host(world: World, rng: random.Random) -> Done | None:
    host = _some(rng, [host for host in world.hosts if host.up])
    if host is None:
        return None
    host.lose_power()
    return Done(f"{host.name} loses power", host.name, host.boot, rng.choice((3, 30, 200)))


def _partition_host(world: World, rng: random.Random) -> Done | None:
    host = _some(rng, world.hosts)
    return None if host is None else _partition(world, rng, host.name, host.name)


def _partition_service(world: World, rng: random.Random) -> Done | None:
    slot = _some(rng, world.slots)
    return None if slot is None else _partition(world, rng, slot.name, None)


def _partition(world: World, rng: random.Random, name: str, node: str | None) -> Done:
    direction = rng.choice(("both", "both", "to_broker", "from_broker"))
    world.broker.partition(name, direction)
    return Done(
        f"{name} is cut off ({direction})",
        node,
        lambda: world.broker.heal(name),
        rng.choice((1, 8, 45, 180)),
    )


def _bad_network(world: World, rng: random.Random) -> Done | None:
    if world.broker.faults != NO_FAULTS:
        return None
    faults = Faults(
        loss=rng.choice((0.0, 0.02, 0.2)),
        duplication=rng.choice((0.0, 0.05, 0.3)),
        reorder=rng.choice((0.0, 0.05, 0.3)),
        delay_s_max=rng.choice((0.0, 0.01, 0.2, 1.5)),
    )
    world.broker.set_faults(faults)
    return Done(
        f"the network: {faults}", None, lambda: world.broker.set_faults(NO_FAULTS),
        rng.choice((10, 40, 120)),
    )  # fmt: skip


def _restart_broker(world: World, rng: random.Random) -> Done | None:
    if not world.broker.up:
        return None
    power = rng.random() < 0.4
    world.crash_broker(lose_unsynced=power)
    return Done(
        "the broker loses power" if power else "the broker is killed",
        None, world.start_broker, rng.choice((0.2, 2, 12, 40)),
    )  # fmt: skip


def _fill_broker(world: World, rng: random.Random) -> Done | None:
    if world.broker.full:
        return None
    world.broker.full = True

    def free() -> None:
        world.broker.full = False

    return Done("the broker's disk is full", None, free, rng.choice((3, 20, 60)))


def _fill_host(world: World, rng: random.Random) -> Done | None:
    host = _some(rng, [host for host in world.hosts if host.up and not host.disk.full])
    if host is None:
        return None
    host.disk.full = True

    def free() -> None:
        host.disk.full = False

    return Done(f"the disk of {host.name} is full", host.name, free, rng.choice((3, 20, 60)))


def _fill_ledger(world: World, rng: random.Random) -> Done | None:
    if world.ledger.full:
        return None
    world.ledger.full = True

    def free() -> None:
        world.ledger.full = False

    return Done("the ledger's disk is full", None, free, rng.choice((3, 20, 60)))


def _step_clock(world: World, rng: random.Random) -> Done | None:
    seconds = rng.choice((-3600, -90, -2, 2, 90, 3600))
    clock = rng.choice([world.control_clock, *(host.clock for host in world.hosts)])
    host = next((host for host in world.hosts if host.clock is clock), None)
    name = host.name if host is not None else "the control plane"
    clock.step_wall(seconds * 10**9)
    return Done(
        f"the wall clock of {name} is stepped by {seconds} s",
        host.name if host is not None else None,
        lambda: clock.step_wall(-seconds * 10**9),
        rng.choice((5, 60, 600)),
    )


def _drift_clock(world: World, rng: random.Random) -> Done | None:
    host = rng.choice(world.hosts)
    ppm = rng.choice((-200, -20, 20, 200))
    host.clock.set_drift(ppm)
    return Done(f"the clock of {host.name} drifts by {ppm} ppm", host.name)


def _break_device(world: World, rng: random.Random) -> Done | None:
    host = _some(rng, [host for host in world.hosts if host.up])
    if host is None:
        return None
    uuid = rng.choice(host.device_uuids)
    host.break_device(uuid)

    def repair() -> None:
        host.repair_device(uuid)

    return Done(f"device {uuid} breaks", host.name, repair, rng.choice((60, 300)))


def _take_lock(world: World, rng: random.Random) -> Done | None:
    service = rng.choice(("scheduler", "inventory", "metering"))
    world.drop_lock(service)
    return Done(f"the lock of {service} is gone, so that two believe to lead")


def _be_hostile(world: World, rng: random.Random) -> Done | None:
    if not world.broker.up:
        return None
    world.history.expected_findings |= {"quarantined"}
    return Done(send_rubbish(world, rng))


KINDS: tuple[Kind, ...] = (
    Kind("service killed", 8, _kill_service),
    Kind("service stopped", 2, _stop_service),
    Kind("service frozen", 4, _freeze_service),
    Kind("agent killed", 6, _kill_agent),
    Kind("agent stopped", 1, _stop_agent),
    Kind("agent frozen", 3, _freeze_agent),
    Kind("reaper killed", 3, _kill_reaper),
    Kind("host suspended", 2, _suspend_host),
    Kind("host lost power", 3, _reboot_host),
    Kind("host cut off", 6, _partition_host),
    Kind("service cut off", 5, _partition_service),
    Kind("bad network", 4, _bad_network),
    Kind("broker restarted", 3, _restart_broker),
    Kind("broker disk full", 1, _fill_broker),
    Kind("host disk full", 2, _fill_host),
    Kind("ledger disk full", 1, _fill_ledger),
    Kind("clock stepped", 3, _step_clock),
    Kind("clock drifts", 2, _drift_clock),
    Kind("device broken", 2, _break_device),
    Kind("lock gone", 2, _take_lock),
    Kind("hostile messages", 3, _be_hostile),
)
