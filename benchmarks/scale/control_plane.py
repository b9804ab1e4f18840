"""What is measured of a control plane: its processes, streams, metrics and logs.

`penstock up` as a user would start it, with one real agent without devices; the thousands of nodes
beside it are not its business. It does not know what loads it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from measure import processes
from measure.mesh import PENSTOCK, Mesh, a_home

ROLES = ("scheduler", "inventory", "metering", "gateway", "nats-server")
JOURNALED = ("scheduler", "inventory")
_METRIC = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)$")


class ControlPlane(Mesh):
    """A mesh whose only own node has no devices."""

    def command(self, simulate: str) -> list[str]:
        return [*super().command(simulate), "--no-local-node"]

    def pids(self) -> dict[str, int]:
        """The process of each role, as of now."""
        found = processes.members(self.mark)
        return {role: pid for pid, role in sorted(found.items()) if role in ROLES}

    def usage(self) -> dict[str, tuple[int, float]]:
        """CPU µs used so far and resident MiB, per role."""
        return {
            role: (cpu_us(pid), processes.memory_mib(pid).get("rss_mib", 0.0))
            for role, pid in self.pids().items()
        }

    def metrics(self, service: str) -> dict[str, float]:
        """What the service's own page says, by name, with its labels behind it."""
        line = processes.command_line(self.pids()[service])
        port = line[line.index("--http-port") + 1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
            text = page.read().decode()
        found = {}
        for row in text.splitlines():
            matched = _METRIC.match(row)
            if matched is not None:
                name, labels, value = matched.groups()
                found[name + (f"{{{labels}}}" if labels else "")] = float(value)
        return found

    def logged(self, service: str, message: str) -> list[dict[str, Any]]:
        """The service's log records with this message, oldest first."""
        found = []
        for line in (self.data / "logs" / f"{service}.log").read_text("utf-8").splitlines():
            if f'"{message}"' in line:
                found.append(json.loads(line))
        return found

    def kill(self, service: str) -> None:
        """kill -9; the supervisor starts it again."""
        os.kill(self.pids()[service], signal.SIGKILL)

    def run(self, *arguments: str) -> tuple[float, int, bytes]:
        """A `penstock` command: its wall ms, exit code and output."""
        began = time.perf_counter()
        done = subprocess.run(
            [str(PENSTOCK), *arguments], env=self.env, capture_output=True, check=False
        )
        return (time.perf_counter() - began) * 1e3, done.returncode, done.stdout


def cpu_us(pid: int) -> int:
    """What the kernel's scheduler has counted (/proc/<pid>/schedstat): work of less than a tick,
    which heartbeats are, is in it too."""
    total_ns = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):  # a thread that has ended
            total_ns += int(task.read_text("ascii").split()[0])
    return total_ns // 1_000


def shares(
    before: dict[str, tuple[int, float]], after: dict[str, tuple[int, float]], seconds: float
) -> dict[str, float]:
    """Cores used between two readings, per role."""
    return {
        role: round((after[role][0] - before[role][0]) / seconds / 1e6, 3)
        for role in after
        if role in before
    }


def resident(usage: dict[str, tuple[int, float]]) -> dict[str, float]:
    return {role: rss_mib for role, (_, rss_mib) in usage.items()}


@contextmanager
def a_control_plane() -> Iterator[ControlPlane]:
    with a_home() as home:
        plane = ControlPlane(home, "1x0xNONE")
        try:
            yield plane
        finally:
            plane.stop()
