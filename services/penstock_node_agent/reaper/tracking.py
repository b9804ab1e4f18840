"""How does a process get a control group of its own at no cost?

Writing a process's number into `cgroup.procs` takes a lock of the whole kernel: 8 ms on a host at
rest. A thread that moves itself within a threaded group (or into a first version's `tasks`) does
not take it: so this one steps into the slot's group, starts the process, which is born there, and
steps out again when it has to, for 20 µs. It does not know what is started.
"""

from __future__ import annotations

import os
from contextlib import suppress

from penstock_node_agent.reaper import cgroups

THREADED, FIRST = "cgroup.threads", "tasks"
FIRST_HIERARCHIES = ("freezer", "pids", "memory", "cpu")
"""Where the second version is not there, any hierarchy tells processes apart."""


class Tracking:
    """`base`: the directory of this state directory's groups. `kind`: how tasks are moved there."""

    def __init__(self, base: str, kind: str, home: str) -> None:
        self.base, self.kind = base, kind
        self._plain, self._former = f"{base}/plain", home
        home = self._plain if kind == THREADED else home
        self._home = os.open(f"{home}/{kind}", os.O_WRONLY | os.O_CLOEXEC)
        self._slots: dict[int, int] = {}
        self._inside: int | None = None

    def enter(self, slot: int) -> bool:
        """What this thread starts from now on is in that slot; False when that cannot be: then it
        is in none."""
        if slot == self._inside:
            return True
        try:
            file = self._slots.get(slot) or self._make(slot)
            os.pwrite(file, b"0", 0)
        except OSError:
            self.leave()
            self._forget(slot)
            return False
        self._inside = slot
        return True

    def leave(self) -> None:
        """What this thread starts from now on is in no slot."""
        if self._inside is not None:
            os.pwrite(self._home, b"0", 0)
            self._inside = None

    def is_empty(self, slot: int) -> bool:
        file = self._slots.get(slot)
        return file is None or not os.pread(file, 1, 0)

    def left(self, slot: int) -> bool:
        """Whether something was still in that slot, which is killed."""
        if slot == self._inside:
            self.leave()
        return not self.is_empty(slot) and cgroups.kill(self._group(slot))

    @property
    def is_tidy(self) -> bool:
        return not self._slots

    def tidy(self) -> None:
        """Nothing runs: no group is kept for what may come."""
        self.leave()
        for slot in list(self._slots):
            self._forget(slot)

    def close(self) -> None:
        """Nothing of it is left; what is below is empty."""
        self.tidy()
        with suppress(OSError):
            if self.kind == THREADED:
                cgroups.write(f"{self._former}/cgroup.procs", "0")
        os.close(self._home)
        cgroups.remove(self.base)

    def _group(self, slot: int) -> str:
        return f"{self._plain}/{cgroups.SLOT}{slot}"

    def _make(self, slot: int) -> int:
        group = self._group(slot)
        with suppress(FileExistsError):
            os.mkdir(group)
        if self.kind == THREADED:
            cgroups.write(f"{group}/cgroup.type", "threaded")
        self._slots[slot] = os.open(f"{group}/{self.kind}", os.O_RDWR | os.O_CLOEXEC)
        return self._slots[slot]

    def _forget(self, slot: int) -> None:
        file = self._slots.pop(slot, None)
        if file is not None:
            os.close(file)
        cgroups.remove(self._group(slot))


def tracking(identity: str, hierarchies: dict[str, str]) -> Tracking | None:
    """The best that this host lets us do; None when that is nothing."""
    home = hierarchies.get(cgroups.UNIFIED)
    if home is not None:
        with suppress(OSError):
            return _threaded(f"{home}/{cgroups.PREFIX}{identity}", home)
    for name in FIRST_HIERARCHIES:
        home = hierarchies.get(name)
        if home is not None:
            with suppress(OSError):
                return _first(f"{home}/{cgroups.PREFIX}{identity}", home)
    return None


def _threaded(base: str, home: str) -> Tracking:
    """This process moves into `plain`, once."""
    plain = f"{base}/plain"
    os.makedirs(f"{plain}/probe", exist_ok=True)
    try:
        cgroups.write(f"{plain}/cgroup.procs", "0")
        cgroups.write(f"{plain}/probe/cgroup.type", "threaded")
        made = Tracking(base, THREADED, home)
    except OSError:
        with suppress(OSError):
            cgroups.write(f"{home}/cgroup.procs", "0")
        cgroups.remove(base)
        raise
    cgroups.remove(f"{plain}/probe")
    return made


def _first(base: str, home: str) -> Tracking:
    os.makedirs(f"{base}/plain", exist_ok=True)
    cgroups.write(f"{base}/plain/tasks", "0")
    cgroups.write(f"{home}/tasks", "0")
    return Tracking(base, FIRST, home)
