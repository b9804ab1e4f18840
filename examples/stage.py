"""How does an example get a mesh to play on, and leave nothing behind?

Starts `penstock up` in a temporary home, runs `penstock` commands as its user, stops it again. It
does not know what is played.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PENSTOCK = Path(sys.executable).parent / "penstock"
READY_TIMEOUT_S = 60.0
STEP_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.05


class Failed(Exception):
    """Something did not go as it should; the sentence says what."""


class Stage:
    """One running mesh in a temporary home, and the `penstock` command of its user."""

    def __init__(self, home: Path, fleet: str) -> None:
        self.home = home
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")}
        self.env |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}
        self._mesh = self._popen(
            "up", "--data", str(home / "data"), "--port", "0", "--http-port", "0",
            "--simulate", fleet, to_files=True,
        )  # fmt: skip

    def _popen(self, *words: str, to_files: bool = False) -> subprocess.Popen[str]:
        if not to_files:
            return subprocess.Popen(
                [str(PENSTOCK), *words], env=self.env, text=True, cwd=self.home,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        with open(self.home / "out", "w") as out, open(self.home / "err", "w") as err:
            return subprocess.Popen(
                [str(PENSTOCK), *words], env=self.env, text=True, cwd=self.home,
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip

    def await_ready(self) -> str:
        """The line in which the mesh says that every node takes work."""

        def ready_line() -> str:
            if self._mesh.poll() is not None:
                raise Failed(f"penstock up ended with {self._mesh.returncode}")
            lines = (self.home / "out").read_text().splitlines()
            return next((line for line in lines if line.startswith("ready")), "")

        return str(until(ready_line, "the mesh is up", READY_TIMEOUT_S))

    def penstock(self, *words: str, exit_code: int | None = 0) -> str:
        """Runs a command to its end; its output."""
        done = subprocess.run(
            [str(PENSTOCK), *words], env=self.env, text=True, cwd=self.home, capture_output=True,
            stdin=subprocess.DEVNULL, timeout=STEP_TIMEOUT_S, check=False,
        )  # fmt: skip
        if exit_code is not None and done.returncode != exit_code:
            raise Failed(
                f"penstock {' '.join(words)}: exit {done.returncode}, not {exit_code}: "
                f"{done.stdout}{done.stderr}"
            )
        return done.stdout

    def ask(self, *words: str) -> Any:
        return json.loads(self.penstock(*words, "--json"))

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Starts a command that goes on meanwhile."""
        return self._popen(*words)

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Every job by its name."""
        found = self.ask("jobs", "--limit", "1000")
        return {job["spec"].get("name", job["job_id"]): job for job in found}

    def stop(self) -> None:
        """Ends the mesh; raises Failed when it does not end well."""
        if self._mesh.poll() is None:
            self._mesh.send_signal(signal.SIGTERM)
        try:
            code = self._mesh.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._mesh.pid, signal.SIGKILL)
            self._mesh.wait()
            raise Failed("penstock up did not stop") from None
        if code != 0:
            raise Failed(f"penstock up ended with {code}")

    def log_tail(self) -> str:
        return (self.home / "err").read_text(errors="replace")[-3000:]


def until(condition: Callable[[], Any], what: str, timeout_s: float = STEP_TIMEOUT_S) -> Any:
    """Waits until the condition holds; its value."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Failed(f"waited {timeout_s:.0f} s in vain until {what}")
        time.sleep(POLL_S)
    return value
