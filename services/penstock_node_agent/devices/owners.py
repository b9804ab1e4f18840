"""Whose process is it?

The lease that a process of this host belongs to, by the control group that the reaper has put it
into, else by the mark in its environment, else by the same of its parents: what was started by a
job belongs to it, even if it has written over its environment. For showing only: what is left of a
lease is the reaper's to say. It does not know why it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from penstock_node_agent.reaper.cgroups import slot_in
from penstock_node_agent.reaper.processes import MARK

LEASE = b"PENSTOCK_LEASE="
"""In the environment of every job, also in a container."""
PARENTS_MAX = 32
ENVIRONMENT_BYTES_MAX = 1 << 20
NOBODY = ""

KeyOfSlot = Callable[[int], str]


class _Known(NamedTuple):
    start_ticks: bytes
    key: str


class ProcessOwners:
    """`directory` and `identity`: of this agent's state. What was found of a process is kept until
    a round of questions passes without it; `proc` is another directory in tests."""

    def __init__(self, directory: str, identity: str, proc: Path = Path("/proc")) -> None:
        self._proc, self._identity = proc, identity
        self._mark = f"{MARK}={directory}:".encode()
        self._known: dict[int, _Known] = {}

    def owners_of(self, pids: Sequence[int], key_of_slot: KeyOfSlot) -> dict[int, str]:
        """Lease key per process, "" for those that are no lease's of this node. Reads a few files
        per process that is new; may be called on any one thread."""
        known: dict[int, _Known] = {}
        for pid in pids:
            _, ticks = self._parent_and_start(pid)
            before = self._known.get(pid)
            if before is not None and before.start_ticks == ticks and before.key:
                known[pid] = before
            else:
                known[pid] = _Known(ticks, self._find(pid, key_of_slot))
        self._known = known
        return {pid: entry.key for pid, entry in known.items()}

    def _find(self, pid: int, key_of_slot: KeyOfSlot) -> str:
        for _ in range(PARENTS_MAX):
            key = self._by_group(pid, key_of_slot) or self._by_environment(pid)
            if key:
                return key
            pid, _ = self._parent_and_start(pid)
            if pid <= 1:
                break
        return NOBODY

    def _by_group(self, pid: int, key_of_slot: KeyOfSlot) -> str:
        try:
            text = (self._proc / str(pid) / "cgroup").read_text("utf-8")
        except (OSError, ValueError):
            return NOBODY
        slot = slot_in(text, self._identity)
        return NOBODY if slot is None else key_of_slot(slot)

    def _by_environment(self, pid: int) -> str:
        try:
            with open(self._proc / str(pid) / "environ", "rb") as file:
                variables = file.read(ENVIRONMENT_BYTES_MAX).split(b"\0")
        except OSError:
            return NOBODY
        marks = [entry for entry in variables if entry.startswith(f"{MARK}=".encode())]
        for entry in marks:
            if entry.startswith(self._mark):
                return entry[len(self._mark) :].decode("utf-8", "replace")
        if marks:
            return NOBODY  # another agent's, on the same host
        leases = (entry for entry in variables if entry.startswith(LEASE))
        return next(leases, LEASE)[len(LEASE) :].decode("utf-8", "replace")

    def _parent_and_start(self, pid: int) -> tuple[int, bytes]:
        """(0, b"") of a process that is not there."""
        try:
            stat = (self._proc / str(pid) / "stat").read_bytes()
        except OSError:
            return 0, b""
        fields = stat.rpartition(b")")[2].split()
        return (int(fields[1]), fields[19]) if len(fields) > 19 else (0, b"")
