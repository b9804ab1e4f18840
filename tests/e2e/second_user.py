"""How does a test run the agent of a host as another user of the operating system?

A home directory of its own below the test's, an environment without anything of ours, and the
agent's process with what it says. Two users cannot read each other's files, but the interpreter:
where ours is hidden from others, the second user may search directories. It checks nothing.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.mesh import PENSTOCK, until

UID = 47_113
STOP_TIMEOUT_S = 20.0


def required() -> None:
    """Skips where this process may not become another user."""
    if os.geteuid() != 0:
        pytest.skip("only root may start a process as another user")


class Host:
    """One host: a home of its own and, between `start` and `stop`, an agent."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir()
        os.chown(home, UID, UID)
        for parent in (home, *home.parents[:3]):
            if parent.stat().st_uid == os.getuid() or parent == home:
                parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
        self.process: subprocess.Popen[bytes] | None = None
        self._runs = 0

    @property
    def membership(self) -> Path:
        return self.home / ".local/share/penstock/membership"

    @property
    def creds(self) -> Path:
        return self.membership / "node.creds"

    @property
    def said(self) -> str:
        path = self.home.with_suffix(f".{self._runs}.log")
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def start(self, *arguments: str, said: str = "") -> None:
        """`penstock agent ...` as the second user, who types `said`."""
        self._runs += 1
        with open(self.home.with_suffix(f".{self._runs}.log"), "wb") as log:
            self.process = subprocess.Popen(
                [*_as_second_user(), str(PENSTOCK), "agent", "--driver", "simulated:2xA100",
                 "--stop-work-on-exit", *arguments],
                env={"HOME": str(self.home), "PATH": os.environ["PATH"]},
                cwd=self.home, stdin=subprocess.PIPE, stdout=log, stderr=log,
            )  # fmt: skip
        if self.process.stdin is not None:
            self.process.stdin.write(said.encode())
            self.process.stdin.close()

    def exit_code(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Waits for the agent to end."""
        if self.process is None:
            raise RuntimeError("the agent was not started")
        code = self.process.wait(timeout_s)
        self.process = None
        return code

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.exit_code()

    def until_it_says(self, text: str) -> None:
        until(lambda: text in self.said, what=f"{text!r} in what the agent says")


def _as_second_user() -> list[str]:
    switch = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
    if not _may_others_run(Path(sys.executable).resolve()):
        switch += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return switch


def _may_others_run(program: Path) -> bool:
    places = (program, *program.parents, *PENSTOCK.parents)
    return all(place.stat().st_mode & stat.S_IXOTH for place in places)
