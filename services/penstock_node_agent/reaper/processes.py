"""How is a process started, found and killed?

System calls and /proc, nothing else. It does not know which attempt should be started or killed.
"""

from __future__ import annotations

import os
import signal
from typing import Any

MARK = "PENSTOCK_REAPER"
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
OUTPUT_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def ignored_signals() -> list[int]:
    """What this process ignores; exec would pass that on, while handlers end with it anyway."""
    ignored = (s for s in signal.valid_signals() if signal.getsignal(s) == signal.SIG_IGN)
    return sorted(ignored)


def spawn(order: dict[str, Any], mark: str, defaulted: list[int]) -> int:
    """Start the order's program in a session of its own and return its pid; raises OSError,
    ValueError.

    Leaves this process's working directory at the job's.
    """
    env = order["env"]
    env[MARK] = mark
    argv = order["argv"]
    os.chdir(order["cwd"])
    return os.posix_spawn(
        _program(argv[0], env.get("PATH", os.defpath)),
        argv,
        env,
        file_actions=(
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, order["out"], OUTPUT_FLAGS, 0o600),
            (os.POSIX_SPAWN_OPEN, 2, order["err"], OUTPUT_FLAGS, 0o600),
        ),
        setsid=True,
        setsigdef=defaulted,
        setsigmask=(),
    )


def _program(name: str, path: str) -> str:
    """The file that a shell would run for `name`; `name` itself when there is none, so that exec
    says why."""
    if "/" not in name:
        for directory in path.split(":"):
            candidate = f"{directory or '.'}/{name}"
            if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
                return candidate
        raise FileNotFoundError(f"no program {name!r} in PATH {path}")
    return name


def kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # gone already, or not ours to end


def kill_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def mark_of(pid: int, prefix: str) -> str | None:
    """What follows `prefix` in the process's mark; "" without one; None when it cannot be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            env = file.read()
    except OSError:
        return None
    wanted = f"{MARK}={prefix}".encode()
    at = env.find(wanted)
    return env[at + len(wanted) :].split(b"\0", 1)[0].decode() if at >= 0 else ""


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(fields[19]) if len(fields) > 19 and fields[0] != b"Z" else None


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
