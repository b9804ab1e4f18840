"""Which process is it, and does that very one still live?

A pid alone is reused; a pid with its start time (ticks since boot, field 22 of /proc/PID/stat) is
not. It does not know what the process does.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import msgspec

STATE_FIELD = 0
PARENT_FIELD = 1
START_TIME_FIELD = 19
"""Places behind the parenthesised command name in /proc/PID/stat (proc_pid_stat(5))."""
DEAD_STATES = ("Z", "X")
POLL_S = 0.02
"""That a process which is not a child has ended can only be looked up."""


class ProcessIdentity(msgspec.Struct, frozen=True):
    """One process, unmistakably. `start_ticks`: when it started, in clock ticks since boot."""

    pid: int
    start_ticks: int

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        fields = _stat_fields(self.pid)
        return (
            fields is not None
            and int(fields[START_TIME_FIELD]) == self.start_ticks
            and fields[STATE_FIELD] not in DEAD_STATES
        )

    def send(self, number: signal.Signals) -> bool:
        """Signals it; False when it is gone. The pid cannot be reused in between: it is pinned."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive:
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True


def identify(pid: int) -> ProcessIdentity | None:
    """The process that has this pid now, None when there is none."""
    fields = _stat_fields(pid)
    if fields is None:
        return None
    return ProcessIdentity(pid=pid, start_ticks=int(fields[START_TIME_FIELD]))


def read_pid_file(path: Path) -> ProcessIdentity | None:
    """The process that a file of the form `PID START_TICKS` names, None when it names none."""
    try:
        pid, start_ticks = path.read_text("ascii").split()
        return ProcessIdentity(pid=int(pid), start_ticks=int(start_ticks))
    except (OSError, ValueError):
        return None


async def wait_until_dead(
    processes: Iterable[ProcessIdentity], *, within_s: float
) -> list[ProcessIdentity]:
    """Returns once none of them lives, or after `within_s` with those that still do."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    left = [process for process in processes if process.alive]
    while left and loop.time() < deadline_s:
        await asyncio.sleep(POLL_S)
        left = [process for process in left if process.alive]
    return left


def descendants(ancestor: int) -> list[ProcessIdentity]:
    """Every process below `ancestor` at this moment, nearest first."""
    children: dict[int, list[ProcessIdentity]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        fields = _stat_fields(int(entry.name))
        if fields is not None:
            found = ProcessIdentity(int(entry.name), int(fields[START_TIME_FIELD]))
            children.setdefault(int(fields[PARENT_FIELD]), []).append(found)
    below: list[ProcessIdentity] = []
    frontier = [ancestor]
    while frontier:
        nearest = [child for pid in frontier for child in children.get(pid, [])]
        below += nearest
        frontier = [child.pid for child in nearest]
    return below


def _stat_fields(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
