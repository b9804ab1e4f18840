"""Which processes does the mesh consist of, and who starts them again?

Each has a command line, a host and a log, and is started again a second after it ended, as systemd
would, unless it is held down for a while. Services get a process namespace of their own where
another instance must not see them. It does not know when they are hurt.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from chaos.network import Network

RESTART_S = 1.0
POLL_S = 0.05
STOP_TIMEOUT_S = 20.0
NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


class Process:
    """One process of the mesh and its successors. `apart`: in a process namespace of its own."""

    def __init__(
        self,
        name: str,
        host: str,
        argv: Sequence[str],
        *,
        network: Network,
        log: Path,
        env: dict[str, str],
        apart: bool = False,
    ) -> None:
        self.name = name
        self.host = host
        self.argv = tuple(argv)
        self.log = log
        self.starts = 0
        self.exits: Counter[int] = Counter()
        self._network = network
        self._env = env
        self._apart = apart
        self._process: subprocess.Popen[bytes] | None = None
        self._not_before = 0.0
        self._stopped = False
        self._noted = False  # that this life has ended

    def start(self) -> None:
        argv = [*NAMESPACE, *self.argv] if self._apart else list(self.argv)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._network.command(self.host, argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                start_new_session=True,
            )
        self.starts += 1
        self._noted = False

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        process = self._process
        if process is None or process.poll() is not None:
            return None
        if not self._apart:
            return process.pid
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        try:
            found = children.read_text("ascii").split()
        except OSError:
            return None
        return int(found[0]) if found else None

    def send(self, how: int) -> bool:
        """False when there is nobody to hear it."""
        pid = self.pid
        if pid is None:
            return False
        try:
            os.kill(pid, how)
        except ProcessLookupError:
            return False
        return True

    def hold(self, seconds: float) -> None:
        """Start it again no sooner than so."""
        self._not_before = time.monotonic() + seconds

    def tend(self) -> None:
        """Starts it again when it is time."""
        process = self._process
        if process is None or self._stopped:
            return
        code = process.poll()
        now = time.monotonic()
        if code is None:
            return
        if not self._noted:
            self._noted = True
            self.exits[code] += 1
            self._not_before = max(self._not_before, now + RESTART_S)
        if now >= self._not_before:
            self.start()

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Ends it for good."""
        self._stopped = True
        if self._process is None:
            return
        self.send(signal.SIGCONT)
        self.send(how)

    def wait(self) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self._process.kill()
            self._process.wait()


class Warden:
    """All processes by name; `run` starts those again that ended."""

    def __init__(self) -> None:
        self.processes: dict[str, Process] = {}

    def add(self, process: Process) -> Process:
        self.processes[process.name] = process
        process.start()
        return process

    def of(self, prefix: str) -> list[Process]:
        """Those whose name begins so, that run."""
        return [p for n, p in self.processes.items() if n.startswith(prefix) and p.pid is not None]

    async def run(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            for process in self.processes.values():
                process.tend()

    def stop(self, *prefixes: str) -> None:
        """Ends all whose names begin so, at once, and waits."""
        chosen = [p for n, p in self.processes.items() if n.startswith(prefixes)]
        for process in chosen:
            process.stop()
        for process in chosen:
            process.wait()
