"""Where do the kernel's control groups lie on this host, and which of them are ours?

Ours are named by the state directory's identity, so that a later reaper finds what an earlier one
left. One per slot, used again by one attempt after another. It does not know what runs in them.

    …/penstock-IDENTITY/plain            the reaper itself
    …/penstock-IDENTITY/plain/slot-N     what runs in slot N
    …/penstock-IDENTITY/limited-N        the same, where it has limits of memory or processes
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress

PREFIX = "penstock-"
SLOT, LIMITED = "slot-", "limited-"
CGROUP_BYTES_MAX = 1 << 20
UNIFIED = ""
"""The second version's hierarchy, which has no name."""


def hierarchies(mounts: str, own: str) -> dict[str, str]:
    """Controller → this process's directory, from /proc/self/mounts and /proc/self/cgroup; under
    `UNIFIED` that of the second version."""
    own_paths: dict[str, str] = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            own_paths[name] = path
    found: dict[str, str] = {}
    for line in mounts.splitlines():
        _, root, kind, options, *_ = line.split(" ")
        if kind == "cgroup2":
            names = [UNIFIED]
        elif kind == "cgroup":
            names = [name for name in options.split(",") if name in own_paths]
        else:
            continue
        for name in names:
            if name in own_paths:
                found.setdefault(name, (root + own_paths[name]).rstrip("/"))
    return found


def this_process() -> dict[str, str]:
    """`hierarchies` of this process; nothing where there is no /proc/self/cgroup."""
    try:
        with open("/proc/self/mounts", encoding="utf-8") as file:
            mounts = file.read()
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            return hierarchies(mounts, file.read())
    except (OSError, ValueError):
        return {}


def slot_in(text: str, identity: str) -> int | None:
    """Which slot of the state directory a process is in, from its /proc/PID/cgroup."""
    mark = f"/{PREFIX}{identity}/"
    for line in text.splitlines():
        for part in line.partition(mark)[2].split("/"):
            name, _, number = part.rpartition("-")
            if f"{name}-" in (SLOT, LIMITED) and number.isdigit():
                return int(number)
    return None


def slot_of(pid: int, identity: str) -> int | None:
    """The same of a living process; None too when it cannot be told."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
            return slot_in(file.read(), identity)
    except OSError:
        return None


def write(path: str, text: str) -> None:
    """Into a control file, which must be there already; raises OSError."""
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


def read(path: str) -> str:
    """ "" when there is no such file."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def left_of(identity: str, roots: Iterable[str]) -> list[str]:
    """Every group for a slot of that state directory below the roots, whoever made it and
    wherever it was started."""
    wanted = PREFIX + identity
    found: list[str] = []
    for root in roots:
        for parent, names, _ in os.walk(root):
            if wanted in names:
                names.remove(wanted)
                found.append(f"{parent}/{wanted}")
    return sorted(found)


def root_of(path: str) -> str:
    """The top of the hierarchy that a directory of it lies in."""
    while os.path.exists(f"{os.path.dirname(path)}/cgroup.procs"):
        path = os.path.dirname(path)
    return path


def groups_in(base: str) -> list[str]:
    """The slots' groups in one of our directories."""
    found: list[str] = []
    for parent in (base, f"{base}/plain"):
        if os.path.isdir(parent):
            names = sorted(os.listdir(parent))
            found += [f"{parent}/{name}" for name in names if name.startswith((SLOT, LIMITED))]
    return found


def tasks(group: str) -> list[int]:
    """In a group and in all below it."""
    found: set[int] = set()
    for parent, _, files in os.walk(group):
        for name in ("tasks", "cgroup.threads", "cgroup.procs"):
            if name in files:
                found.update(map(int, read(f"{parent}/{name}").split()))
                break
    return sorted(found)


def kill(group: str) -> bool:
    """Kill all that is in a group and below, but never this process; True when something was there.
    What forks faster than it is killed is held still."""
    own = os.getpid()
    there = tasks(group)
    if not there:
        return False
    if own not in there:
        with suppress(OSError):
            write(f"{group}/cgroup.kill", "1")  # threaded groups and the first version refuse it
            return True
        with suppress(OSError):
            write(f"{group}/cgroup.freeze", "1")
            there = tasks(group)
    for task in there:
        if task != own:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(task, signal.SIGKILL)
    if own not in there:
        with suppress(OSError):
            write(f"{group}/cgroup.freeze", "0")
    return True


def remove(group: str) -> bool:
    """Remove a group and all below it; False when something is in there or holds it."""
    for parent, names, _ in os.walk(group, topdown=False):
        for name in names:
            with suppress(OSError):
                os.rmdir(f"{parent}/{name}")
    try:
        os.rmdir(group)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
