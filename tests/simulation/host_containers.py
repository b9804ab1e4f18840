"""How does a simulated reaper reach podman?

The reaper's port to it, over what a simulated host has of it, or as if it was not installed. It
does not know what a container is for.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable

from penstock_node_agent.reaper.podman import Podman
from tests.checkers.history import Run
from tests.simulation.host_podman import COMMAND_S, RUN_S, Command, Container, PodmanStore, Said
from tests.simulation.host_processes import SimulatedProcesses


class NoPodman(Podman):
    """A host on which the program is not installed."""

    def __init__(self) -> None:
        self.descriptor = -1

    def run(
        self,
        argv: list[str],
        args: list[str],
        env: dict[str, str],
        out: str,
        err: str,
        place: str,
    ) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", argv[0])

    def ask(self, argv: list[str]) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", argv[0])

    def end_others(self, pids: list[int]) -> None:
        return

    def ended(self) -> list[int]:
        return []


class SimulatedPodman(Podman):
    """Of one life of the reaper. `tells_status`: the kernel says how somebody's child has ended.
    A watched process has its own number for a descriptor."""

    def __init__(
        self,
        store: PodmanStore,
        processes: SimulatedProcesses,
        wake: Callable[[], None],
        *,
        tells_status: bool,
    ) -> None:
        self.descriptor = -1
        self._store, self._processes, self._wake = store, processes, wake
        self._tells_status = tells_status
        self._answers: dict[int, str] = {}
        self._watched: dict[int, Container] = {}
        self._ended: list[int] = []

    # -- its commands --------------------------------------------------------------------------
    def run(
        self,
        argv: list[str],
        args: list[str],
        env: dict[str, str],
        out: str,
        err: str,
        place: str,
    ) -> int:
        order = {"env": env, "out": out, "err": err}

        def act() -> Said:
            code, said = self._store.run(argv, args, order)
            if said:
                self._store.disk.append_to(err, f"{said}\n".encode())
            return code, ""

        return self._start(act, RUN_S)

    def ask(self, argv: list[str]) -> int:
        words = [word for word in argv[1:] if not word.startswith("-")]
        store = self._store
        if words[0] == "inspect":
            return self._start(lambda: self._inspect(words[-1]), COMMAND_S)
        filters = [arg.split("=", 2)[2] for arg in argv if arg.startswith("--filter=label=")]
        labels = dict(text.split("=", 1) for text in filters)
        if words[0] == "rm":
            name = next(arg.split("=^")[1].rstrip("$") for arg in argv if "=name=^" in arg)
            return self._start(lambda: store.remove(name, labels), COMMAND_S)
        return self._start(lambda: store.list(labels), COMMAND_S)

    def answer(self, pid: int) -> str:
        return self._answers.pop(pid, "")

    def end(self, pid: int) -> None:
        self._store.kill(pid)

    def end_others(self, pids: list[int]) -> None:
        self._store.kill_others(self)

    def names(self, pid: int, name: str) -> bool:
        return False

    def _start(self, act: Callable[[], Said], between_s: tuple[float, float]) -> int:
        pid = self._store.programs.new_pid()

        def told(code: int | None, said: str) -> None:
            self._answers[pid] = said
            self._processes.tool_ended(pid, code, None if code is not None else signal.SIGKILL)

        command = Command(act, told)
        command.owner = self
        self._store.start(pid, command, between_s)
        return pid

    def _inspect(self, name: str) -> Said:
        container = self._store.containers.get(name)
        if container is not None and container.status == "exited":
            self._note_end(container)
        return self._store.inspect(name)

    # -- a container's first process -----------------------------------------------------------
    def watch(self, pid: int) -> int | None:
        for container in self._store.containers.values():
            if container.program is not None and container.pid == pid:
                break
        else:
            return None
        if not self._store.disk.full:  # that it began is in the reaper's log
            container.program.run.survives = True
        if container.status != "running":
            return None
        self._watched[pid] = container
        container.watchers.append(self._hear)
        return pid

    def ended(self) -> list[int]:
        ended, self._ended = self._ended, []
        return ended

    def status(self, watched: int) -> int | None:
        container = self._watched[watched]
        if not self._tells_status or container.program is None:
            return None
        self._note_end(container)
        run = container.program.run
        return run.exit_code << 8 if run.exit_code is not None else run.signal

    def signal(self, watched: int, pid: int, number: int) -> None:
        container = self._watched[watched]
        if container.program is not None:
            container.program.receive(number, "reaper")

    def leave(self, watched: int) -> None:
        container = self._watched.pop(watched)
        if self._hear in container.watchers:
            container.watchers.remove(self._hear)

    def cgroups(self, pid: int, monitor: int | None) -> dict[str, str]:
        return {"memory": str(pid)}

    def out_of_memory(self, cgroups: dict[str, str]) -> bool:
        return self._watched[int(cgroups["memory"])].out_of_memory

    def probe(self, pid: int, cgroups: dict[str, str]) -> int:
        raise NotImplementedError("no simulated container has devices of its own")

    def ago_ns(self, instant: str) -> int:
        return max(0, self._store.clock.boottime_ns() - int(instant))

    def die(self) -> None:
        """The reaper is gone; its commands go on."""
        for container in self._watched.values():
            container.watchers.remove(self._hear)
        self._watched.clear()

    def _hear(self, container: Container) -> None:
        self._ended.append(container.pid)
        self._wake()

    def _note_end(self, container: Container) -> None:
        """The reaper is told now how it ended."""
        runs: list[Run] = self._processes.waited
        if container.program is not None:
            runs.append(container.program.run)
