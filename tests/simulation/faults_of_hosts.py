"""What can befall a host, its agent, its reaper, its disk and its devices?

One function per kind of fault. It does not know when they strike.
"""

from __future__ import annotations

import random

from tests.simulation.host_devices import KINDS
from tests.simulation.misfortune import STEPS_MAX, Done, Kind, some
from tests.simulation.world import World


def _kill_agent(world: World, rng: random.Random) -> Done | None:
    host = some(rng, [host for host in world.hosts if host.agent_alive])
    if host is None:
        return None
    steps = rng.choice((0, rng.randrange(1, 30), rng.randrange(1, STEPS_MAX)))
    host.kill_agent(steps)
    return Done(f"the agent of {host.name} is killed, {steps} steps on", host.name)


def _stop_agent(world: World, rng: random.Random) -> Done | None:
    host = some(rng, [host for host in world.hosts if host.agent_alive])
    if host is None:
        return None
    host.stop_agent()
    return Done(f"the agent of {host.name} is told to stop", host.name)


def _freeze_agent(world: World, rng: random.Random) -> Done | None:
    host = some(rng, [host for host in world.hosts if host.agent_alive])
    if host is None:
        return None
    host.freeze_agent()
    return Done(
        f"the agent of {host.name} is frozen", host.name, host.thaw_agent, rng.choice((3, 20, 90))
    )


def _kill_reaper(world: World, rng: random.Random) -> Done | None:
    host = some(rng, [host for host in world.hosts if host.reaper_alive])
    if host is None:
        return None
    steps = rng.choice((0, rng.randrange(1, 30), rng.randrange(1, 400)))
    host.kill_reaper(steps)
    return Done(f"the reaper of {host.name} is killed, {steps} steps on", host.name)


def _freeze_reaper(world: World, rng: random.Random) -> Done | None:
    host = some(rng, [host for host in world.hosts if host.reaper_alive])
    if host is None:
        return None
    host.freeze_reaper()
    return Done(
        f"the reaper of {host.name} is frozen", host.name, host.thaw_reaper, rng.choice((1, 8, 40))
    )


def _suspend_host(world: World, rng: random.Random) -> Done | None:
    host = some(rng, [host for host in world.hosts if host.up and not host.suspended])
    if host is None:
        return None
    host.suspend()
    return Done(f"{host.name} is suspended", host.name, host.resume, rng.choice((5, 60, 300)))


def _reboot_host(world: World, rng: random.Random) -> Done | None:
    host = some(rng, [host for host in world.hosts if host.up])
    if host is None:
        return None
    host.lose_power()
    return Done(f"{host.name} loses power", host.name, host.boot, rng.choice((3, 30, 200)))


def _fill_host(world: World, rng: random.Random) -> Done | None:
    host = some(rng, [host for host in world.hosts if host.up and not host.disk.full])
    if host is None:
        return None
    host.disk.full = True

    def free() -> None:
        host.disk.full = False

    return Done(f"the disk of {host.name} is full", host.name, free, rng.choice((3, 20, 60)))


def _slow_disk(world: World, rng: random.Random) -> Done | None:
    host = some(rng, [host for host in world.hosts if host.up and not host.disk.slow_s])
    if host is None:
        return None
    host.disk.slow_s = rng.choice((0.05, 0.5, 5.0))

    def speed_up() -> None:
        host.disk.slow_s = 0.0

    return Done(
        f"each sync on {host.name} takes {host.disk.slow_s} s",
        host.name, speed_up, rng.choice((10, 60)),
    )  # fmt: skip


def _drift_clock(world: World, rng: random.Random) -> Done | None:
    host = rng.choice(world.hosts)
    ppm = rng.choice((-200, -20, 20, 200))
    host.clock.set_drift(ppm)
    return Done(f"the clock of {host.name} drifts by {ppm} ppm", host.name)


def _break_device(world: World, rng: random.Random) -> Done | None:
    host = some(rng, [host for host in world.hosts if host.up])
    if host is None:
        return None
    uuid, kind = rng.choice(host.device_uuids), rng.choice(KINDS)
    host.break_device(uuid, kind)

    def repair() -> None:
        host.repair_device(uuid)

    return Done(f"device {uuid} breaks: {kind}", host.name, repair, rng.choice((60, 300)))


def _irritate_device(world: World, rng: random.Random) -> Done | None:
    host = some(rng, [host for host in world.hosts if host.up])
    if host is None:
        return None
    uuid = rng.choice(host.device_uuids)
    host.irritate_device(uuid)
    return Done(f"the driver logs an error of {uuid} that is not its own", host.name)


def _hold_memory(world: World, rng: random.Random) -> Done | None:
    host = some(rng, [host for host in world.hosts if host.up and host.driver.can_check])
    if host is None:
        return None
    uuid, seconds = rng.choice(host.device_uuids), rng.choice((0.5, 4.0, 15.0, 90.0))
    host.memory.lingers_s[uuid] = seconds
    return Done(f"what ends next on {uuid} leaves its memory held for {seconds} s", host.name)


def _cut_registry(world: World, rng: random.Random) -> Done | None:
    host = some(rng, [host for host in world.hosts if host.podman is not None])
    store = host.podman if host is not None else None
    if host is None or store is None:
        return None
    store.registry_up = False

    def join() -> None:
        store.registry_up = True

    return Done(f"{host.name} cannot pull images", host.name, join, rng.choice((30, 300)))


def _slow_podman(world: World, rng: random.Random) -> Done | None:
    host = some(rng, [host for host in world.hosts if host.podman is not None])
    store = host.podman if host is not None else None
    if host is None or store is None:
        return None
    store.slow = True

    def speed_up() -> None:
        store.slow = False

    return Done(f"podman on {host.name} is slow", host.name, speed_up, rng.choice((20, 120)))


HOST_KINDS: tuple[Kind, ...] = (
    Kind("agent killed", 6, _kill_agent),
    Kind("agent stopped", 1, _stop_agent),
    Kind("agent frozen", 3, _freeze_agent),
    Kind("reaper killed", 3, _kill_reaper),
    Kind("reaper frozen", 2, _freeze_reaper),
    Kind("host suspended", 2, _suspend_host),
    Kind("host lost power", 3, _reboot_host),
    Kind("host disk full", 2, _fill_host),
    Kind("host disk slow", 2, _slow_disk),
    Kind("clock drifts", 2, _drift_clock),
    Kind("device broken", 5, _break_device),
    Kind("device irritated", 1, _irritate_device),
    Kind("memory held", 3, _hold_memory),
    Kind("registry away", 1, _cut_registry),
    Kind("podman slow", 1, _slow_podman),
)
