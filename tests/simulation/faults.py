"""What can befall a mesh?

One function per kind of fault: strikes the world somewhere, and says how it is undone. It does not
know when.
"""

from __future__ import annotations

import random

from penstock_bus.memory_link import NO_FAULTS, Faults
from tests.simulation.faults_of_hosts import HOST_KINDS
from tests.simulation.faults_of_operators import OPERATOR_KINDS
from tests.simulation.hostility import send_rubbish
from tests.simulation.misfortune import STEPS_MAX, Done, Kind, some
from tests.simulation.world import World


def _kill_service(world: World, rng: random.Random) -> Done | None:
    slot = some(rng, [slot for slot in world.slots if slot.alive])
    if slot is None:
        return None
    steps = rng.choice((0, rng.randrange(1, 30), rng.randrange(1, STEPS_MAX)))
    slot.kill(steps=steps)
    return Done(f"{slot.name} is killed, {steps} steps on")


def _stop_service(world: World, rng: random.Random) -> Done | None:
    slot = some(rng, [slot for slot in world.slots if slot.alive])
    if slot is None:
        return None
    slot.stop()
    return Done(f"{slot.name} is told to stop")


def _freeze_service(world: World, rng: random.Random) -> Done | None:
    slot = some(rng, [slot for slot in world.slots if slot.alive])
    process = slot.process if slot is not None else None
    if slot is None or process is None or process.frozen:
        return None
    process.freeze()

    def thaw() -> None:
        if process.alive:
            process.thaw()

    return Done(f"{slot.name} is frozen", None, thaw, rng.choice((0.5, 4.0, 20.0, 90.0)))


def _partition_host(world: World, rng: random.Random) -> Done | None:
    host = some(rng, world.hosts)
    return None if host is None else _partition(world, rng, host.name, host.name)


def _partition_service(world: World, rng: random.Random) -> Done | None:
    slot = some(rng, world.slots)
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


def _fill_logs(world: World, rng: random.Random) -> Done | None:
    refusing = world.broker.refusing
    if "LOGS" in refusing:
        return None
    refusing.add("LOGS")
    return Done("LOGS is full", None, lambda: refusing.discard("LOGS"), rng.choice((10, 60, 180)))


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
    *HOST_KINDS,
    Kind("service killed", 8, _kill_service),
    Kind("service stopped", 2, _stop_service),
    Kind("service frozen", 4, _freeze_service),
    Kind("host cut off", 6, _partition_host),
    Kind("service cut off", 5, _partition_service),
    Kind("bad network", 4, _bad_network),
    Kind("broker restarted", 3, _restart_broker),
    Kind("broker disk full", 1, _fill_broker),
    Kind("logs full", 2, _fill_logs),
    Kind("ledger disk full", 1, _fill_ledger),
    Kind("clock stepped", 3, _step_clock),
    Kind("lock gone", 2, _take_lock),
    Kind("hostile messages", 3, _be_hostile),
    *OPERATOR_KINDS,
)
