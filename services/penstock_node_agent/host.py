"""What of its host does the agent touch?

Every port through which the agent reaches the machine, in one bundle: the real ones here, others in
a simulation. It does not know what the agent does with them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from penstock_node_agent import reaper_package
from penstock_node_agent.config import Config
from penstock_node_agent.devices.owners import KeyOfSlot, ProcessOwners
from penstock_node_agent.drivers.port import DeviceDriver
from penstock_node_agent.ports import PortRange, can_bind, parse_port_range
from penstock_node_agent.programs import Run, run
from penstock_node_agent.reaper.channel import socket_path
from penstock_node_agent.reaper.disk import Disk
from penstock_node_agent.telling.spool_room import SpoolBounds
from penstock_node_agent.telling.spool_watch import OnGrown, SpoolWatch
from penstock_node_agent.workplace.containers import Podman, podman_of
from penstock_node_agent.workplace.environment import base_environment
from penstock_node_agent.workplace.secret_files import SecretFiles
from penstock_node_agent.workplace.work_files import WorkFiles
from penstock_runtime.clock import Clock, SystemClock

MIB = 1 << 20


class ReaperDoor(Protocol):
    """How the agent comes to its reaper. `code`: names what `start` would start."""

    code: str

    async def connect(self, link: asyncio.Protocol) -> None:
        """Raises ConnectionRefusedError or FileNotFoundError when none listens."""
        ...

    async def start(self) -> None:
        """Start a reaper unless one runs; raises ReaperDidNotStart, TimeoutError."""
        ...

    async def end(self, timeout_s: float) -> None:
        """Have it stop all work and end, without a connection to it."""
        ...


class Watch(Protocol):
    def close(self) -> None: ...


def nobodys(pids: Sequence[int], key_of_slot: KeyOfSlot) -> dict[int, str]:
    """Of a host whose processes cannot be looked at."""
    return {}


class Host(NamedTuple):
    """`environment`: what every job gets. `watch`: tells which files of a directory grow.
    `spool`: how much output may wait on its disk. `secrets`: where those of jobs lie; None: jobs
    have none. `mounts`: below which directories jobs may use files of the host. `owners_of`: the
    lease keys of processes, given the key of each slot. `run`: small programs of the operator's.
    `podman`: None: nobody looked for it."""

    clock: Clock
    boot_id: str
    environment: dict[str, str]
    disk: Disk
    driver: DeviceDriver
    ports: PortRange
    reaper: ReaperDoor
    watch: Callable[[str, OnGrown], Watch]
    spool: SpoolBounds = SpoolBounds()
    files: WorkFiles = WorkFiles()
    secrets: SecretFiles | None = None
    mounts: tuple[str, ...] = ()
    owners_of: Callable[[Sequence[int], KeyOfSlot], dict[int, str]] = nobodys
    run: Run = run
    podman: Podman | None = None


class UnixDoor:
    """To the reaper of a state directory on this machine."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self.code = reaper_package.code_name()

    async def connect(self, link: asyncio.Protocol) -> None:
        loop = asyncio.get_running_loop()
        directory = os.open(self._state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            await loop.create_unix_connection(lambda: link, socket_path(directory))
        finally:
            os.close(directory)

    async def start(self) -> None:
        await reaper_package.start(self._state_dir)

    async def end(self, timeout_s: float) -> None:
        await reaper_package.end(self._state_dir, timeout_s)


def this_host(config: Config, driver: DeviceDriver) -> Host:
    """The machine that this process runs on."""
    first, last = parse_port_range(config.port_range)
    return Host(
        clock=SystemClock(),
        boot_id=Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip(),
        environment=base_environment(),
        disk=Disk(),
        driver=driver,
        ports=PortRange(first, last, partial(can_bind, config.advertise_address)),
        reaper=UnixDoor(config.directory),
        watch=SpoolWatch,
        secrets=SecretFiles(str(config.directory)),
        podman=podman_of(config, driver.name, run),
        mounts=config.allow_mounts,
        owners_of=ProcessOwners(
            os.path.realpath(config.directory), reaper_package.identity(config.directory)
        ).owners_of,
        spool=SpoolBounds(
            int(config.spool_mib * MIB),
            int(config.spool_node_mib * MIB),
            int(config.disk_free_mib * MIB),
        ),
    )
