"""How do the containers of this node come to run, and what becomes of them?

Podman is asked by child processes, and their ends are taken turn by turn: nothing here blocks.
conmon, which podman leaves beside each container, keeps its exit status, also while there is no
reaper. It does not know what an attempt is, nor what follows when a container has ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from penstock_node_agent.reaper.container_life import (
    UNFIT,
    Answer,
    Ask,
    Container,
    End,
    Life,
    Lives,
)
from penstock_node_agent.reaper.disk import Disk
from penstock_node_agent.reaper.happenings import Happening
from penstock_node_agent.reaper.podman import Podman
from penstock_node_agent.reaper.processes import Exit

COMMANDS_MAX = 4
"""Of podman at once: each takes some tens of MB and of ms."""
SETTINGS_NAME = "containers.json"
"""In the state directory, written by the agent: {"podman": how it is called, "labels": what all
containers of this state directory bear}."""
SURVEY = ""


class Run:
    """A life, and what it waits for. `command`: pid of one that runs; `asks`: one in line;
    `due_ns`: when its patience ends; `ends`: it waits for the watched process."""

    __slots__ = ("asks", "command", "due_ns", "ends", "life", "one")

    def __init__(self, one: Container, life: Life) -> None:
        self.one, self.life = one, life
        self.command: int | None = None
        self.asks: Ask | None = None
        self.due_ns: int | None = None
        self.ends = False


class Containers:
    """Everything returns at once; what comes of it is told by `turn`."""

    def __init__(
        self,
        directory: str,
        *,
        disk: Disk,
        podman: Podman,
        boottime_ns: Callable[[], int],
        complain: Callable[[str], object],
    ) -> None:
        self._disk, self._podman, self._boottime_ns = disk, podman, boottime_ns
        self._directory, self._complain = directory, complain
        self._pids = f"{directory}/containers"
        self._runs: dict[str, Run] = {}
        self._commands: dict[int, Run | None] = {}
        self._monitors: set[int] = set()
        self._exits: list[Exit] = []
        self._happened: list[Happening] = []

    # -- what is asked for ---------------------------------------------------------------------
    def start(self, key: str, order: dict[str, Any]) -> None:
        """Run the order's container: Begun follows and later Over, or an Over that says why not.
        Raises OSError, KeyError, TypeError."""
        self._disk.make_directory(self._pids)
        one, lives = self._lives(key, order["container"])
        self._live(one, lives.new(one, order))

    def cancel(self, key: str) -> None:
        """Do not begin it: Over follows, unless it has begun meanwhile."""
        run = self._runs.get(key)
        if run is None or not run.one.starting:
            return
        if run.asks is not None:
            run.asks = None
            self._send(run, Answer(None, "it was stopped before it began"))
        elif run.command is not None and not self._disk.read(run.one.pid_file):
            self._podman.end(run.command)

    def adopt(self, key: str, told: dict[str, Any]) -> None:
        """A reaper that died has begun it: Begun follows and later Over, or Over alone."""
        one, lives = self._lives(key, told)
        self._live(one, lives.adopted(one, devices=bool(told["devices"])))

    def signal(self, key: str, number: int) -> None:
        """SIGTERM goes to the group of its first process; SIGKILL ends all that is in it."""
        run = self._runs.get(key)
        if run is not None and run.one.watched is not None:
            self._podman.signal(run.one.watched, run.one.pid, number)

    def clear(self, key: str, told: dict[str, Any]) -> None:
        """Remove it, whatever it does: Away follows."""
        one, lives = self._lives(key, told)
        self._live(one, lives.removed(one))

    def survey(self, pids: list[int]) -> None:
        """Begin to look for what bears our labels: a Stray for each, then it is `surveyed`. `pids`:
        every process of the host; commands that a reaper left which died are ended first."""
        data = self._disk.read(f"{self._directory}/{SETTINGS_NAME}")
        if data is None:
            return
        self._podman.end_others(pids)
        try:
            one, lives = self._lives(SURVEY, {"name": "", **json.loads(data)})
        except (ValueError, KeyError, TypeError) as error:  # nothing may end the reaper
            self._complain(f"{SETTINGS_NAME} cannot be read: {error!r}\n")
            return
        self._live(one, lives.survey(one))

    @property
    def surveyed(self) -> bool:
        """Whether nothing is to be expected of a survey just now."""
        run = self._runs.get(SURVEY)
        return run is None or run.one.late

    # -- what happens --------------------------------------------------------------------------
    @property
    def descriptor(self) -> int:
        """Readable when a container's first process has ended."""
        return self._podman.descriptor

    def took(self, exit: Exit) -> bool:
        """Whether a child that has ended was podman or conmon."""
        if exit.pid in self._commands:
            self._exits.append(exit)
            return True
        ours = exit.pid in self._monitors
        self._monitors.discard(exit.pid)
        return ours

    def owns(self, pid: int) -> bool:
        """Whether a child is podman or conmon."""
        if pid in self._commands or pid in self._monitors:
            return True
        if any(
            self._podman.names(pid, run.one.name) for run in self._runs.values() if run.one.name
        ):
            self._monitors.add(pid)
            return True
        return False

    def ending_ns(self) -> int | None:
        """When the first of those ended of which it is not known yet how."""
        ends = [run.one.ended_ns for run in self._runs.values() if run.one.ended_ns is not None]
        return min(ends, default=None)

    def timeout_ms(self) -> int | None:
        """How long to wait at most; None: until something happens."""
        due_ns: int | None = None
        for run in self._runs.values():
            if run.asks is not None and len(self._commands) < COMMANDS_MAX:
                return 0
            if run.due_ns is not None and (due_ns is None or run.due_ns < due_ns):
                due_ns = run.due_ns
        if due_ns is None:
            return None
        return max(1, (due_ns - self._boottime_ns()) // 1_000_000 + 1)

    def turn(self) -> list[Happening]:
        """Everything that has happened since the last turn."""
        if self._runs or self._exits:
            now = self._boottime_ns()
            self._take_exits()
            self._take_ends(now)
            self._take_times(now)
            self._start_commands()
        happened = list(self._happened)
        self._happened.clear()
        return happened

    def _take_exits(self) -> None:
        exits, self._exits = self._exits, []
        for exit in exits:
            run = self._commands.pop(exit.pid)
            said = self._podman.answer(exit.pid)
            if run is not None:
                run.command = run.due_ns = None
                self._send(run, Answer(exit.code, said))

    def _take_ends(self, now: int) -> None:
        ended = self._podman.ended()
        if not ended:
            return
        for run in list(self._runs.values()):
            if run.one.watched in ended:
                run.one.ended_ns = now
                if run.ends:
                    run.due_ns = None
                    self._send(run, True)

    def _take_times(self, now: int) -> None:
        for run in list(self._runs.values()):
            if run.due_ns is None or now < run.due_ns:
                continue
            run.due_ns = None
            if run.command is not None:
                self._podman.end(run.command)  # its exit follows
            else:
                self._send(run, False if run.ends else None)

    def _start_commands(self) -> None:
        for run in list(self._runs.values()):
            if len(self._commands) >= COMMANDS_MAX:
                return
            if run.asks is not None:
                self._start_command(run, run.asks)

    def _start_command(self, run: Run, asks: Ask) -> None:
        run.asks = None
        try:
            run.command = asks.start()
        except OSError as error:
            self._send(run, Answer(None, str(error)))
            return
        except (ValueError, TypeError) as error:
            self._send(run, Answer(UNFIT, str(error)))
            return
        self._commands[run.command] = run
        run.due_ns = self._boottime_ns() + asks.ns_max

    # -- lives ---------------------------------------------------------------------------------
    def _lives(self, key: str, told: dict[str, Any]) -> tuple[Container, Lives]:
        lives = Lives(
            self._podman,
            self._disk,
            told["podman"],
            told["labels"],
            self._happened.append,
            self._complain,
        )
        return Container(key, told["name"], self._pids), lives

    def _live(self, one: Container, life: Life) -> None:
        """A new life in place of the one before."""
        before = self._runs.pop(one.key, None)
        if before is not None and one.monitor is None:
            one.monitor = before.one.monitor
        if before is not None:
            before.life.close()
            if before.command is not None:
                self._commands[before.command] = None
                self._podman.end(before.command)
            if before.one.watched is not None:
                self._podman.leave(before.one.watched)
        run = self._runs[one.key] = Run(one, life)
        self._send(run, None)

    def _send(self, run: Run, value: object) -> None:
        """Have the life go on to what it waits for next."""
        run.ends = False
        try:
            wait = run.life.send(value)
        except StopIteration:
            self._leave(run)
            return
        if isinstance(wait, Ask):
            run.asks = wait
        elif isinstance(wait, End) and run.one.ended_ns is not None:
            self._send(run, True)
        elif isinstance(wait, End):
            run.ends = True
            run.due_ns = None if wait.ns_max is None else self._boottime_ns() + wait.ns_max
        else:
            run.due_ns = self._boottime_ns() + wait.ns

    def _leave(self, run: Run) -> None:
        if run.one.watched is not None:
            self._podman.leave(run.one.watched)
            run.one.watched = None
        if self._runs.get(run.one.key) is run:
            del self._runs[run.one.key]
