"""What does each process of a mesh cost in CPU time and memory, by /proc?"""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

TRUE_RUNS = 200
TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
SERVICES = ("inventory", "scheduler", "metering", "gateway")


class Cost:
    """CPU µs used by a process itself and by the children it has waited for."""

    def __init__(self, own_us: int = 0, children_us: int = 0) -> None:
        self.own_us = own_us
        self.children_us = children_us


def command_line(pid: int) -> list[str]:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [part.decode("utf-8", "replace") for part in raw.split(b"\0")[:-1]]


def role_of(line: list[str]) -> str:
    """The part of the mesh that a command line is; empty when it is none."""
    if line and Path(line[0]).name == "nats-server":
        return "nats-server"
    text = " ".join(line)
    if "reaper" in text:
        return "reaper"
    for service in SERVICES:
        if service in line or f"penstock_{service}" in text:
            return service
    if "agent" in text:
        return "agent"
    return "up" if "up" in line and "penstock" in text else ""


def members(mark: str) -> dict[int, str]:
    """pid and role of every process whose environment or command line holds `mark`."""
    found: dict[int, str] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            pid = int(entry)
            line = command_line(pid)
            role = role_of(line)
            if role and (any(mark in part for part in line) or mark in _environment(pid)):
                found[pid] = role
    return found


def costs(pids: Iterable[int]) -> dict[int, Cost]:
    found = {}
    for pid in pids:
        fields = _stat(pid)
        if fields:
            own, children = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
            found[pid] = Cost(own * TICK_US, children * TICK_US)
    return found


def cost_by_role(
    roles: dict[int, str], before: dict[int, Cost], after: dict[int, Cost], jobs: int
) -> dict[str, float]:
    """CPU µs a job per role; `job` is what the reapers' children, the jobs themselves, used."""
    totals: dict[str, int] = {}
    for pid, role in roles.items():
        if pid in before and pid in after:
            totals[role] = totals.get(role, 0) + after[pid].own_us - before[pid].own_us
            if role == "reaper":
                own = after[pid].children_us - before[pid].children_us
                totals["job"] = totals.get("job", 0) + own
    return {role: round(total / jobs, 1) for role, total in sorted(totals.items())}


def memory_mib(pid: int) -> dict[str, float]:
    """Resident and proportional set size."""
    found = {}
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name in ("Rss", "Pss"):
            found[f"{name.lower()}_mib"] = round(int(rest.split()[0]) / 1024, 1)
    return found


def cost_of_true_us() -> float:
    """CPU µs of one `/bin/true`, spawned the cheapest way: the yardstick for everything else."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(TRUE_RUNS):
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used_s / TRUE_RUNS * 1e6


def help_ms(penstock: Path, runs: int) -> list[float]:
    """Wall ms from starting `penstock --help` to its end, in order."""
    took_ms = []
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run([str(penstock), "--help"], stdout=subprocess.DEVNULL, check=True)
        took_ms.append((time.perf_counter() - began) * 1e3)
    return took_ms


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _environment(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
