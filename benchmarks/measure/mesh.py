"""How does a benchmark get a fresh mesh of its own?

`penstock up` on a temporary directory with a home of its own, stopped and removed afterwards.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PENSTOCK = Path(sys.executable).parent / "penstock"
READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.02


class Mesh:
    """A mesh that is ready. `mark` is found in the environment of all its processes. `simulate`
    empty: this host with the devices that it has."""

    def __init__(self, home: Path, simulate: str, env: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.data = home / "data"
        self.mark = home.name
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PENSTOCK_", "OTEL_"))}
        own = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "BENCH": self.mark}
        self.env = kept | own | dict(env or {})
        self._process = self._start(simulate)
        self.nats_url = self._await_ready()
        self.creds = self.data / "client.creds"

    def _start(self, simulate: str) -> subprocess.Popen[bytes]:
        command = self.command(simulate)
        with open(self.home / "out", "wb") as out, open(self.home / "err", "wb") as err:
            return subprocess.Popen(
                command,
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                env=self.env,
                start_new_session=True,
            )

    def command(self, simulate: str) -> list[str]:
        return [
            str(PENSTOCK), "up", "--data", str(self.data), "--port", "0", "--http-port", "0",
            *(("--simulate", simulate) if simulate else ()),
        ]  # fmt: skip

    def _await_ready(self) -> str:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            text = (self.home / "out").read_text(encoding="utf-8")
            found = re.search(r"^ready.*?((?:nats|tls)://[^\s,;]+).*\n", text, re.MULTILINE)
            if found:
                return found.group(1)
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"penstock up is not ready:\n{self._log_tail()}")
            time.sleep(POLL_S)

    def _log_tail(self) -> str:
        return (self.home / "err").read_text(encoding="utf-8", errors="replace")[-4000:]

    def check(self) -> dict[str, Any]:
        """`penstock check`; raises when it is not clean."""
        done = subprocess.run(
            [str(PENSTOCK), "check", "--json"],
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"penstock check: {done.stdout}\n{done.stderr}\n{self._log_tail()}")
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def a_home() -> Iterator[Path]:
    """A directory for one mesh, removed afterwards."""
    home = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def a_mesh(simulate: str, env: Mapping[str, str] | None = None) -> Iterator[Mesh]:
    with a_home() as home:
        mesh = Mesh(home, simulate, env)
        try:
            yield mesh
        finally:
            mesh.stop()
