"""How much memory and how many processes may an attempt have, and did it die of that?

Through whichever hierarchy holds the controller. A group for each attempt that has a limit; its
first process moves itself in. It does not know how that is started.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from penstock_node_agent.reaper import cgroups

MIB = 1 << 20
CONTROLLERS = ("memory", "pids", "cpu")
SHARES_PER_CORE, WEIGHT_PER_CORE = 1024, 100
SHARES_MIN, WEIGHT_MIN, WEIGHT_MAX = 2, 1, 10_000
"""cpu.shares and cpu.weight: linux/Documentation/admin-guide/cgroup-v2.rst, scheduler/sched.h."""


class Knob(NamedTuple):
    """One control file; `needed`: without it there is no such limit."""

    controller: str
    wish: str
    file: str
    value: Callable[[int], int]
    needed: bool = True


def _bytes(mib: int) -> int:
    return mib * MIB


def _weight(milli: int) -> int:
    return max(WEIGHT_MIN, min(WEIGHT_MAX, milli * WEIGHT_PER_CORE // 1000))


def _shares(milli: int) -> int:
    return max(SHARES_MIN, milli * SHARES_PER_CORE // 1000)


SECOND = (
    Knob("memory", "memory_mib", "memory.max", _bytes),
    Knob("memory", "memory_mib", "memory.swap.max", lambda mib: 0, needed=False),
    Knob("memory", "memory_mib", "memory.oom.group", lambda mib: 1, needed=False),
    Knob("pids", "pids_max", "pids.max", int),
    Knob("cpu", "cpu_milli", "cpu.weight", _weight, needed=False),
)
FIRST = (
    Knob("memory", "memory_mib", "memory.limit_in_bytes", _bytes),
    Knob("memory", "memory_mib", "memory.memsw.limit_in_bytes", _bytes, needed=False),
    Knob("pids", "pids_max", "pids.max", int),
    Knob("cpu", "cpu_milli", "cpu.shares", _shares, needed=False),
)


class Limits:
    """`unified`: our directory in the second version's hierarchy, which this process is not in
    itself; None without one."""

    def __init__(self, identity: str, hierarchies: dict[str, str], unified: str | None) -> None:
        self.versions: dict[str, int] = {}
        self._parents: dict[str, str] = {}
        self._made: dict[int, dict[str, str]] = {}
        for controller in CONTROLLERS:
            first = hierarchies.get(controller)
            if first is not None:
                parent, version = f"{first}/{cgroups.PREFIX}{identity}", 1
                usable = _is_directory(parent)
            else:
                parent, version = unified or "", 2
                usable = unified is not None and _enable(controller, parent)
            if usable:
                self._parents[controller], self.versions[controller] = parent, version
        needed = [knob for knob in SECOND if knob.needed]
        self._kept = [knob.wish for knob in needed if knob.controller in self.versions]

    def wanted(self, order: dict[str, Any]) -> bool:
        """Whether the order has a limit that is kept here."""
        return any(order.get(wish) is not None for wish in self._kept)

    def make(self, slot: int, order: dict[str, Any]) -> list[str]:
        """Groups with the order's limits; returns the files through which a process joins them.
        Raises OSError."""
        self.left(slot)
        made = self._made[slot] = {}
        for controller, parent in self._parents.items():
            made[controller] = group = f"{parent}/{cgroups.LIMITED}{slot}"
            if group not in list(made.values())[:-1]:
                os.mkdir(group)
            for knob in SECOND if self.versions[controller] == 2 else FIRST:
                value = order.get(knob.wish)
                if knob.controller == controller and value is not None:
                    _set(f"{group}/{knob.file}", knob.value(value), needed=knob.needed)
        join = dict.fromkeys(made.values(), "cgroup.procs")
        join |= {group: "tasks" for name, group in made.items() if self.versions[name] == 1}
        return [f"{group}/{file}" for group, file in join.items()]

    def ran_out_of_memory(self, slot: int) -> bool:
        """Whether the kernel has killed something in there because of its limit."""
        group = self._made.get(slot, {}).get("memory")
        if group is None:
            return False
        second = self.versions["memory"] == 2
        text = cgroups.read(f"{group}/{'memory.events' if second else 'memory.oom_control'}")
        counts = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
        return int(counts.get("oom_kill", 0)) > 0

    def left(self, slot: int) -> bool:
        """Whether something was still in there, which is killed; else nothing of it is left."""
        made = self._made.get(slot)
        if made is None:
            return False
        killed = [cgroups.kill(group) for group in dict.fromkeys(made.values())]
        if any(killed) or not all(map(cgroups.remove, dict.fromkeys(made.values()))):
            return True
        del self._made[slot]
        return False

    def close(self) -> None:
        for parent in dict.fromkeys(self._parents.values()):
            cgroups.remove(parent)


def _is_directory(path: str) -> bool:
    with suppress(OSError):
        os.makedirs(path, exist_ok=True)
        return os.access(path, os.W_OK)
    return False


def _enable(controller: str, directory: str) -> bool:
    """Have the groups in a directory of the second version counted for that controller."""
    for parent in (os.path.dirname(directory), directory):
        with suppress(OSError):
            cgroups.write(f"{parent}/cgroup.subtree_control", f"+{controller}")
    return controller in cgroups.read(f"{directory}/cgroup.subtree_control").split()


def _set(path: str, value: int, *, needed: bool) -> None:
    try:
        cgroups.write(path, str(value))
    except OSError:
        if needed:
            raise
