"""Which processes does a simulated reaper see?

The reaper's port to processes, over the programs of a simulated host, with the kinship that a real
kernel keeps: children of this reaper, orphans of the one before, zombies. It does not know why they
are started or killed.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from penstock_node_agent.reaper.processes import (
    MARK,
    PLAIN,
    TICK_NS,
    Exit,
    Processes,
    Verdict,
)
from tests.checkers.history import Run
from tests.simulation.host_programs import Program, Programs
from tests.simulation.workload import script_of

INIT = 1


class SimulatedProcesses(Processes):
    """Seen from one life of the reaper. `wake`: one of its children has ended. `waited`: runs whose
    end it has seen."""

    def __init__(self, programs: Programs, wake: Callable[[], None]) -> None:
        self.pid = programs.new_pid()
        self.waited: list[Run] = []
        self._programs, self._wake = programs, wake
        self._ended: list[int] = []
        self._tools: dict[int, Exit] = {}
        self._alive = True
        self._mine: dict[int, Program] = {}

    def spawn(self, order: dict[str, Any], mark: str) -> int:
        if not self._programs.disk.is_directory(order["cwd"]):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", order["cwd"])
        script = script_of(order["argv"])
        if script is None:
            raise FileNotFoundError(f"no program {order['argv'][0]!r} in PATH")
        order["env"][MARK] = mark
        for path in (order["out"], order["err"]):
            self._programs.disk.touch(path)
        program = self._programs.start(order, script, lambda: self._end(program.pid))
        self._mine[program.pid] = program
        return program.pid

    def tool_ended(self, pid: int, code: int | None, number: int | None) -> None:
        """A child that is no job's."""
        if self._alive:
            self._tools[pid] = Exit(pid, code, number)
            self._wake()

    def next_exit(self) -> Exit | None:
        for exit in self._tools.values():
            return exit
        if not self._ended:
            return None
        run = self._mine[self._ended[0]].run
        return Exit(self._ended[0], run.exit_code, run.signal)

    def verdict(self, pid: int, slot: int | None, exit: Exit) -> Verdict:
        return PLAIN

    def reap(self, pid: int) -> None:
        if self._tools.pop(pid, None) is not None:
            return
        self._ended.remove(pid)
        self.waited.append(self._mine.pop(pid).run)
        self._programs.bury(pid)

    def kill(self, pid: int, number: int) -> None:
        program = self._programs.by_pid.get(pid)
        if program is not None:
            program.receive(number, "reaper" if pid in self._mine else "leftover")

    kill_group = kill

    def children(self) -> list[int]:
        return list(self._mine)

    def everything(self) -> list[int]:
        return [INIT, self.pid, *self._programs.by_pid]

    def session_of(self, pid: int) -> int | None:
        return pid if pid in (INIT, self.pid) or pid in self._programs.by_pid else None

    def mark_of(self, pid: int, prefix: str) -> str | None:
        program = self._programs.by_pid.get(pid)
        if program is None:
            return "" if pid in (INIT, self.pid) else None
        mark = program.environment.get(MARK, "")
        return mark.removeprefix(prefix) if mark.startswith(prefix) else ""

    def start_ticks(self, pid: int) -> int | None:
        program = self._programs.by_pid.get(pid)
        return None if program is None or program.ended else program.started_ns // TICK_NS

    def note_waited(self) -> None:
        """What it has seen end is on the disk."""
        for run in self.waited:
            run.waited = True
        self.waited.clear()

    def die(self) -> None:
        """The reaper is gone: init is the parent of what it leaves."""
        self._alive = False
        for program in list(self._mine.values()):
            program.orphan()

    def _end(self, pid: int) -> None:
        self._ended.append(pid)
        self._wake()
