"""Which processes are there, read from /proc?

Children of a process, command lines, environments and leftovers of a mesh. It does not know what
the processes are for.
"""

from __future__ import annotations

import os
from pathlib import Path


def command_line(pid: int) -> tuple[str, ...]:
    """The arguments of a process; empty when it is gone or a zombie."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(part.decode("utf-8", "replace") for part in raw.split(b"\0")[:-1])


def environment(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty when it cannot be read."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (part.decode("utf-8", "replace").partition("=") for part in raw.split(b"\0") if part)
    return {name: value for name, _, value in pairs}


def stat_fields(pid: int) -> list[str]:
    """`/proc/<pid>/stat` from the state letter on (field 3 of proc(5) is index 0)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def children(parent: int) -> dict[int, tuple[str, ...]]:
    """The direct children of a process that still run, with their command lines."""
    found: dict[int, tuple[str, ...]] = {}
    for pid in all_pids():
        fields = stat_fields(pid)
        if fields and int(fields[1]) == parent and fields[0] != "Z":
            found[pid] = command_line(pid)
    return found


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    fields = stat_fields(pid)
    return bool(fields) and fields[0] != "Z"


def marked(name: str, value: str, path: str) -> dict[int, tuple[str, ...]]:
    """Every process that carries `name=value` in its environment or `path` in its command line."""
    found: dict[int, tuple[str, ...]] = {}
    for pid in all_pids():
        if pid == os.getpid():
            continue
        line = command_line(pid)
        if any(path in part for part in line) or environment(pid).get(name) == value:
            found[pid] = line
    return found
