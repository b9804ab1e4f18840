"""What does podman have on a simulated host, and what does it answer?

Images and containers, and commands that take their time; a container and how it ended outlive
whoever began it, and a command that was killed may have done its work. It does not know who asks,
nor why.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penstock_node_agent.programs import Hear, Ran
from penstock_node_agent.reaper.container_life import LEASE_LABEL
from penstock_node_agent.workplace.container_command import Owner
from tests.simulation.clocks import HostClock
from tests.simulation.disk import SimulatedDisk
from tests.simulation.host_programs import Program, Programs
from tests.simulation.kernel import Kernel
from tests.simulation.workload import UNKNOWN_IMAGE, Script, script_of

VERSION = "4.9"
COMMAND_S = (0.02, 0.3)
RUN_S = (0.1, 0.6)
PULL_S = (0.5, 20.0)
SLOW = 30.0
"""So much longer takes what is slow."""
SUSPENDED_S = 1.0
FAILED, NO_PROGRAM = 125, 127
MESH = "sim"

Said = tuple[int, str]
"""(exit code, what it wrote)."""


class Container:
    """`pid` 0: it never began. `watchers`: called when its first process has ended."""

    def __init__(self, name: str, labels: dict[str, str]) -> None:
        self.name, self.labels = name, labels
        self.program: Program | None = None
        self.status = "created"
        self.ended_boot_ns = 0
        self.watchers: list[Callable[[Container], None]] = []

    @property
    def pid(self) -> int:
        return self.program.pid if self.program is not None else 0

    @property
    def code(self) -> int:
        """As podman tells it."""
        run = self.program.run if self.program is not None else None
        if run is None or (run.exit_code is None and run.signal is None):
            return 255
        return run.exit_code if run.exit_code is not None else 128 + (run.signal or 0)

    @property
    def out_of_memory(self) -> bool:
        return self.program is not None and self.program.run.out_of_memory


class Command:
    """One that runs. `told`: hears of its end, by code (None: it was killed) and words."""

    def __init__(self, act: Callable[[], Said], told: Callable[[int | None, str], None]) -> None:
        self.act, self.told = act, told
        self.owner: object = None


class PodmanStore:
    """`registry_up`: whether images can be pulled. `slow`: everything takes long."""

    def __init__(
        self, kernel: Kernel, disk: SimulatedDisk, clock: HostClock, name: str, seed: int
    ) -> None:
        self.kernel, self.disk, self.clock = kernel, disk, clock
        self.owner = Owner(MESH, name, f"directory-of-{name}")
        self.registry_up, self.slow, self.suspended = True, False, False
        self.programs: Programs
        self.containers: dict[str, Container] = {}
        self._rng = random.Random(seed)
        self._images: set[str] = set()
        self._commands: dict[int, Command] = {}
        self._foreign = self._plant()

    def _plant(self) -> tuple[str, ...]:
        """Containers of others that look much like ours."""
        ours = {**self.owner.labels, LEASE_LABEL: "1/SOMEBODY/0"}
        for number, (label, value) in enumerate(
            (*((name, "another") for name in self.owner.labels), ("other", "thing"))
        ):
            labels = {**ours, label: value} if label in ours else {label: value}
            other = Container(f"somebody-{number}", labels)
            other.status = "running"
            self.containers[other.name] = other
        return tuple(self.containers)

    # -- what is left --------------------------------------------------------------------------
    def ours(self) -> tuple[str, ...]:
        return tuple(name for name in self.containers if name not in self._foreign)

    def foreign_gone(self) -> tuple[str, ...]:
        return tuple(name for name in self._foreign if name not in self.containers)

    # -- commands ------------------------------------------------------------------------------
    def start(self, pid: int, command: Command, between_s: tuple[float, float]) -> None:
        self._commands[pid] = command
        self._later(pid, self._rng.uniform(*between_s) * (SLOW if self.slow else 1.0))

    def kill(self, pid: int) -> None:
        """It may have done what it was asked for."""
        command = self._commands.pop(pid, None)
        if command is not None:
            if self._rng.random() < 0.5:
                command.act()
            command.told(None, "")

    def kill_others(self, owner: object) -> None:
        for pid, command in list(self._commands.items()):
            if command.owner is not owner:
                self.kill(pid)

    def lose_power(self) -> None:
        self._commands.clear()
        for container in self.containers.values():
            if container.program is not None:
                container.status = "exited"
                container.watchers.clear()

    def _later(self, pid: int, seconds: float) -> None:
        self.kernel.loop.call_later(seconds, self._end, pid, context=self.kernel.context)

    def _end(self, pid: int) -> None:
        if pid not in self._commands:
            return
        if self.suspended:
            self._later(pid, SUSPENDED_S)
            return
        command = self._commands.pop(pid)
        command.told(*command.act())

    # -- what they do --------------------------------------------------------------------------
    def run(self, argv: list[str], args: list[str], order: dict[str, Any]) -> Said:
        """`order`: env, out and err."""
        name, image = _value(argv, "--name"), args[args.index("--") + 1]
        if name in self.containers:
            return FAILED, f"Error: the container name {name} is already in use"
        if image not in self._images:
            return FAILED, f"Error: {image}: image not known"
        labels = dict(arg[8:].split("=", 1) for arg in args if arg.startswith("--label="))
        container = self.containers[name] = Container(name, labels)
        script = script_of(args[args.index("--") + 2 :])
        if script is None:
            return NO_PROGRAM, "Error: executable file not found in $PATH"
        try:
            file = self.disk.create(_value(argv, "--pidfile"))
            try:
                self._begin(container, script, order)
                self.disk.append(file, str(container.pid).encode())
            finally:
                self.disk.close(file)
        except OSError as error:
            return FAILED, "" if container.pid else f"Error: {error.strerror}"
        return 0, ""

    def inspect(self, name: str) -> Said:
        container = self.containers.get(name)
        if container is None:
            return FAILED, f"Error: no such container {name}"
        state = {
            "Status": container.status,
            "Pid": container.pid if container.status == "running" else 0,
            "ExitCode": container.code,
            "OOMKilled": container.out_of_memory,
            "FinishedAt": str(container.ended_boot_ns),
        }
        return 0, json.dumps(state)

    def remove(self, name: str, labels: Mapping[str, str]) -> Said:
        container = self.containers.get(name)
        if container is None or not labels.items() <= container.labels.items():
            return 0, ""
        program = container.program
        if container.status == "running" and program is not None:
            program.end(None, 9, "leftover")
        del self.containers[name]
        return 0, name

    def list(self, labels: Mapping[str, str]) -> Said:
        found = [
            {"Names": [container.name], "Labels": container.labels}
            for container in self.containers.values()
            if labels.items() <= container.labels.items()
        ]
        return 0, json.dumps(found)

    async def ask(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        timeout_s: float,
        stdin: str = "",
        hear: Hear | None = None,
    ) -> Ran:
        """For the agent: commands that it awaits itself."""
        words = [word for word in argv[1:] if not word.startswith("-")]
        between_s = PULL_S if words[0] == "pull" else COMMAND_S
        seconds = self._rng.uniform(*between_s) * (SLOW if self.slow else 1.0)
        await asyncio.sleep(min(seconds, timeout_s))
        if seconds > timeout_s:
            return Ran(None, "")
        if words[0] == "info":
            return Ran(0, VERSION)
        image = argv[-1]
        if words[0] == "image":
            return Ran(0 if image in self._images else 1, "")
        return self._pull(image)

    def _pull(self, image: str) -> Ran:
        if self.disk.full:
            return Ran(FAILED, "Error: writing blob: no space left on device")
        if not self.registry_up:
            return Ran(FAILED, "Error: pinging container registry: connection refused")
        if image == UNKNOWN_IMAGE:
            return Ran(FAILED, "Error: reading manifest: manifest unknown")
        self._images.add(image)
        return Ran(0, "")

    def _begin(self, container: Container, script: Script, order: dict[str, Any]) -> None:
        for path in (order["out"], order["err"]):
            self.disk.touch(path)
        container.program = program = self.programs.start(
            order, script, lambda: self._ended(container)
        )
        program.run.contained = True
        container.status = "running"

    def _ended(self, container: Container) -> None:
        """conmon waits for it, and notes how it ended."""
        container.status, container.ended_boot_ns = "exited", self.clock.boottime_ns()
        self.programs.bury(container.pid)
        for watcher in container.watchers:
            watcher(container)


def _value(argv: Sequence[str], option: str) -> str:
    return next(arg for arg in argv if arg.startswith(f"{option}=")).split("=", 1)[1]
