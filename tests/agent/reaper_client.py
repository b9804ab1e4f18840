"""How does a test talk with a reaper?

The agent's side of the protocol, blocking, with a deadline on every wait. It does not know the
agent.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from penstock_node_agent import reaper_package
from penstock_node_agent.reaper import cgroups

WAIT_S = 10.0
POLL_S = 0.005


def boottime_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not, nor one that is just being reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(") ")[2][:1]
        return state not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def parent_and_command_line(pid: int) -> tuple[int, str]:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    parent = status.partition("PPid:")[2].split()[0]
    return int(parent), Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def wait_until(condition: Any, what: str) -> Any:
    deadline = time.monotonic() + WAIT_S
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {WAIT_S} s: {what}")
        time.sleep(POLL_S)


def pid_in(path: Path) -> int:
    """The pid that a job wrote into a file of its own, once it has."""

    def read() -> int:
        text = path.read_text("ascii") if path.exists() else ""
        return int(text) if text.endswith("\n") else 0

    return int(wait_until(read, f"{path} holds a pid"))


class ReaperClient:
    """One reaper in its own state directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.work = directory / "w"
        self.work.mkdir(exist_ok=True)
        self.lines: list[list[Any]] = []
        self._socket: socket.socket | None = None
        self._unread = b""

    async def start(self) -> None:
        await reaper_package.start(self.directory)
        self.connect()

    def start_without_groups(self, python: str = sys.executable, **how: Any) -> None:
        """As on a host that has no control groups for it; `how`: for the process, as `user`."""
        archive = str(reaper_package.pack(self.directory))
        argv = [python, "-I", "-S", archive, str(self.directory), "", ""]
        subprocess.run(argv, check=True, timeout=WAIT_S, **how)
        self.connect()

    @property
    def abilities(self) -> dict[str, Any]:
        return dict(self.wait_for("ready")[4])

    @property
    def groups(self) -> list[str]:
        """Every control group of this state directory's on the host."""
        identity = reaper_package.identity(self.directory)
        roots = {cgroups.root_of(path) for path in cgroups.this_process().values()}
        bases = cgroups.left_of(identity, sorted(roots))
        return [group for base in bases for group in cgroups.groups_in(base)]

    def connect(self) -> None:
        """As a new agent does: everything is told again."""
        if self._socket is not None:
            self._socket.close()
        self.lines, self._unread = [], b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(WAIT_S)
        self._socket.connect(str(self.directory / "reaper.sock"))
        self.wait_for("ready")

    @property
    def pid(self) -> int:
        return int((self.directory / "reaper.pid").read_text("ascii").split()[0])

    def send(self, **request: Any) -> None:
        if self._socket is None:
            raise RuntimeError("not connected")
        self._socket.sendall(json.dumps(request).encode() + b"\n")

    def spawn(self, key: str, *argv: str, **changes: Any) -> None:
        order: dict[str, Any] = {
            "argv": argv,
            "env": {"PATH": os.environ["PATH"]},
            "cwd": str(self.work),
            "out": str(self.output(key, "out")),
            "err": str(self.output(key, "err")),
            "grace_s": 5,
            "limit_s": None,
            "disconnect_s": None,
            "contact_ns": boottime_ns(),
        }
        self.send(op="spawn", key=key, **{**order, **changes})

    def shell(self, key: str, script: str, **changes: Any) -> None:
        self.spawn(key, "/bin/sh", "-c", script, **changes)

    def output(self, key: str, suffix: str) -> Path:
        return self.directory / f"{key}.{suffix}"

    def wait_for_output(self, key: str) -> None:
        """The job has written to its standard output."""
        path = self.output(key, "out")
        wait_until(lambda: path.exists() and path.stat().st_size, f"{key} has written")

    def wait_for(self, kind: str, key: str | None = None) -> list[Any]:
        """The first line of that kind about that key, once it has been told."""

        def find() -> list[Any] | None:
            named = (x for x in self.lines if x[0] == kind and (key is None or x[1] == key))
            return next(named, None)

        while True:
            found = find()
            if found is not None:
                return found
            self._read()

    def end_of(self, key: str) -> dict[str, Any]:
        names = ("at_ns", "code", "signal", "reason", "message", "out", "err", "gone_ns")
        return dict(zip(names, self.wait_for("ended", key)[2:], strict=True))

    def known(self) -> list[str]:
        return list(self.wait_for("ready")[3])

    def kill_reaper(self) -> None:
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not alive(pid), "the reaper is gone")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if (self.directory / "reaper.pid").exists():
            pid = self.pid
            if alive(pid):
                os.kill(pid, signal.SIGTERM)
                wait_until(lambda: not alive(pid), "the reaper ends")

    def _read(self) -> None:
        if self._socket is None:
            raise RuntimeError("not connected")
        data = self._socket.recv(1 << 20)
        if not data:
            raise AssertionError(f"the reaper left; so far {self.lines}")
        *lines, self._unread = (self._unread + data).split(b"\n")
        self.lines += [json.loads(line) for line in lines]
