"""How is a process started, found, waited for and killed?

System calls and /proc, nothing else; a simulated host has the same calls. It does not know which
attempt should be started or killed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any, NamedTuple

from penstock_node_agent.reaper import cgroups, launch
from penstock_node_agent.reaper.limits import Limits
from penstock_node_agent.reaper.tracking import Tracking

MARK = "PENSTOCK_REAPER"
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
OUTPUT_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND
CHILDREN_BYTES_MAX = 1 << 20


class Exit(NamedTuple):
    """How a child ended: exactly one of `code` and `signal`."""

    pid: int
    code: int | None
    signal: int | None


class Verdict(NamedTuple):
    """What an exit status does not say: `out_of_memory`, `spawn_failed` (it never ran), or ""."""

    reason: str = ""
    message: str = ""


PLAIN = Verdict()
OUT_OF_MEMORY = Verdict("out_of_memory", "it wanted more memory than its limit")


class Processes:
    """This host's, seen from the subreaper of all that it starts. `identity`: of the state
    directory. `stale`: groups that an earlier reaper has left."""

    tracking: Tracking | None = None
    limits: Limits | None = None
    stale: Sequence[str] = ()

    def __init__(self, identity: str = "") -> None:
        self.pid = os.getpid()
        self._identity = identity
        self._ignored = _ignored_signals()
        self._children = os.open(f"/proc/self/task/{self.pid}/children", os.O_RDONLY)
        self._faults: dict[int, int] = {}

    def spawn(self, order: dict[str, Any], mark: str) -> int:
        """Start the order's program in a session of its own and return its pid; raises OSError,
        ValueError, TypeError.

        Leaves this process's working directory at the job's.
        """
        order["env"][MARK] = mark
        limited = self.limits is not None and self.limits.wanted(order)
        slot = order.get("slot")
        if order.get("pids_max") is not None and not limited:
            raise ValueError("nothing on this host can limit the number of processes")
        os.chdir(order["cwd"])
        if self.tracking is not None:
            if slot is None:
                self.tracking.leave()
            else:
                self.tracking.enter(slot)
        if limited or launch.needed(order):
            return self._launch(order, slot, limited=limited)
        return self._start(order)

    def _start(self, order: dict[str, Any]) -> int:
        env, argv = order["env"], order["argv"]
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
            setsigdef=self._ignored,
            setsigmask=(),
        )

    def _launch(self, order: dict[str, Any], slot: int | None, *, limited: bool) -> int:
        def execute() -> None:
            argv, env = order["argv"], order["env"]
            os.execve(_program(argv[0], env.get("PATH", os.defpath)), argv, env)

        joins: list[str] = []
        if limited and self.limits is not None:
            if slot is None:
                raise ValueError("limits need a slot")
            joins = self.limits.make(slot, order)
        launched = launch.launch(order, joins, execute)
        if launched.faults >= 0:
            self._faults[launched.pid] = launched.faults
        return launched.pid

    def verdict(self, pid: int, slot: int | None, exit: Exit) -> Verdict:
        """Why it ended, as far as the host knows more than the exit status."""
        faults = self._faults.pop(pid, None) if self._faults else None
        if faults is not None:
            fault = launch.read_fault(faults)
            if fault:
                return Verdict("spawn_failed", fault)
        if exit.code == 0 or self.limits is None or slot is None:
            return PLAIN
        return OUT_OF_MEMORY if self.limits.ran_out_of_memory(slot) else PLAIN

    def left(self, slot: int | None) -> bool:
        """Whether something was still in the slot's groups, or is left of them; it is killed."""
        if slot is None:
            return False
        killed = self.tracking is not None and self.tracking.left(slot)
        return (self.limits is not None and self.limits.left(slot)) or killed

    def sweep(self) -> bool:
        """Whether something is left of what an earlier reaper had in groups; it is killed."""
        self.stale = [
            group for group in self.stale if cgroups.kill(group) or not cgroups.remove(group)
        ]
        return bool(self.stale)

    def slot_of(self, pid: int) -> int | None:
        """Whose group the process is in; None where there are none."""
        return cgroups.slot_of(pid, self._identity) if self.tracking is not None else None

    @property
    def untidy(self) -> bool:
        """Whether something is kept for what may come."""
        return self.tracking is not None and not self.tracking.is_tidy

    def tidy(self) -> None:
        """Nothing runs: nothing is kept for what may come."""
        if self.tracking is not None:
            self.tracking.tidy()

    def close(self) -> None:
        """Nothing runs, and nothing will."""
        if self.limits is not None:
            self.limits.close()
        if self.tracking is not None:
            self.tracking.close()

    def next_exit(self) -> Exit | None:
        """A child that has ended; its pid is not used again before `reap`."""
        try:
            info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return None
        if info is None:
            return None
        if info.si_code == os.CLD_EXITED:
            return Exit(info.si_pid, info.si_status, None)
        return Exit(info.si_pid, None, info.si_status)

    def reap(self, pid: int) -> None:
        os.waitpid(pid, 0)

    def kill(self, pid: int, number: int) -> None:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            return  # gone already, or not ours to end

    def kill_group(self, pid: int, number: int) -> None:
        try:
            os.killpg(pid, number)
        except (ProcessLookupError, PermissionError):
            return

    def children(self) -> list[int]:
        """Of this process, those too whose parents have died."""
        return [int(pid) for pid in os.pread(self._children, CHILDREN_BYTES_MAX, 0).split()]

    def everything(self) -> list[int]:
        """All processes of the host."""
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]

    def session_of(self, pid: int) -> int | None:
        try:
            return os.getsid(pid)
        except OSError:
            return None

    def mark_of(self, pid: int, prefix: str) -> str | None:
        """What follows `prefix` in the process's mark; "" without one; None when it cannot be
        read."""
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                env = file.read()
        except OSError:
            return None
        wanted = f"{MARK}={prefix}".encode()
        at = env.find(wanted)
        return env[at + len(wanted) :].split(b"\0", 1)[0].decode() if at >= 0 else ""

    def start_ticks(self, pid: int) -> int | None:
        return start_ticks(pid)


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(fields[19]) if len(fields) > 19 and fields[0] != b"Z" else None


def _ignored_signals() -> list[int]:
    """What this process ignores; exec would pass that on, while handlers end with it anyway."""
    ignored = (s for s in signal.valid_signals() if signal.getsignal(s) == signal.SIG_IGN)
    return sorted(ignored)


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
