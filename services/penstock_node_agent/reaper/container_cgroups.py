"""Where are a container's control groups, and what do they tell?

Which directories they are, whether its memory limit has killed anything, whether it may still open
its devices. It does not know who made them.
"""

from __future__ import annotations

import errno
import os
import stat

CGROUPS = "/sys/fs/cgroup"
CHARGE_BYTES = 1 << 20
"""By how much less than its limit it may have used when it wanted more."""
IN_EVERY_CONTAINER = frozenset({1, 5, 136})
"""Majors of the devices that all have: memory, terminals."""


def cgroups_of(pid: int, monitor: int | None) -> dict[str, str]:
    """The container's directory in each hierarchy, by controller; "" is the second version's.
    `monitor`: its conmon, which knows where they are when the process itself has ended."""
    found = _cgroups_of(pid)
    if monitor is None or any("/libpod-" in path for path in found.values()):
        return found
    words = words_of(monitor)
    identity = words[words.index("-c") + 1] if "-c" in words[:-1] else ""
    found = {}
    for controller, path in _cgroups_of(monitor).items():
        for name in (f"libpod-{identity}", f"libpod-{identity}.scope"):
            if os.path.isdir(f"{os.path.dirname(path)}/{name}"):
                found[controller] = f"{os.path.dirname(path)}/{name}"
    return found


def ran_out_of_memory(cgroups: dict[str, str]) -> bool:
    """Whether something in there was killed because the container's own limit was reached."""
    path = cgroups.get("memory")
    if path is not None:
        kills = _count(f"{path}/memory.oom_control", "oom_kill")
        most = _count(f"{path}/memory.max_usage_in_bytes", "")
        limit = _count(f"{path}/memory.limit_in_bytes", "")
        return kills > 0 and most + CHARGE_BYTES >= limit > 0
    path = cgroups.get("", "")
    over = (path, os.path.dirname(path))  # one runtime has a directory of its own below
    kills = _count(f"{path}/memory.events", "oom_kill")
    return kills > 0 and any(_count(f"{one}/memory.events", "oom") for one in over)


def devices_error(pid: int, cgroups: dict[str, str]) -> int:
    """What a process of the container would be told that opens its devices: an error's number, or
    0. Whoever calls becomes one of its processes for that."""
    try:
        for controller in ("devices", ""):
            if controller in cgroups and (controller or "devices" not in cgroups):
                with open(f"{cgroups[controller]}/cgroup.procs", "w", encoding="ascii") as file:
                    file.write("0")
        devices = os.path.join(f"/proc/{pid}/root", "dev")
        for name in os.listdir(devices):
            found = os.stat(f"{devices}/{name}", follow_symlinks=False)
            if stat.S_ISCHR(found.st_mode) and os.major(found.st_rdev) not in IN_EVERY_CONTAINER:
                os.close(os.open(f"{devices}/{name}", os.O_RDONLY | os.O_NONBLOCK))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def words_of(pid: int) -> list[str]:
    """Its command line; nothing when it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode(errors="replace").split("\0")
    except OSError:
        return []


def _cgroups_of(pid: int) -> dict[str, str]:
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return {}
    found = {}
    for _, controllers, path in lines:
        for controller in controllers.split(","):
            top = f"{CGROUPS}/{controller.removeprefix('name=')}"
            if not controller:
                top = CGROUPS if os.path.exists(f"{CGROUPS}/cgroup.procs") else f"{top}unified"
            found[controller] = top.rstrip("/") + path
    return found


def _count(path: str, name: str) -> int:
    """A number in a file of the kernel; 0 where there is none, or the file is gone."""
    try:
        with open(path, encoding="ascii") as file:
            for line in file:
                key, _, value = line.rstrip("\n").rpartition(" ")
                if key == name:
                    return int(value)
    except (OSError, ValueError):
        return 0
    return 0
