"""How is a node's way to the broker cut, and nobody else's?

A real agent with a credential of its own that reaches the broker through a proxy of the test. It
does not know what is tested.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from e2e.mesh import Mesh
from penstock_contracts.message_type import NODE
from penstock_mesh.credentials import Trust, write_private
from penstock_mesh.data_directory import DataDirectory
from tests.chaos.proxy import GOOD, Condition, Link

CUT = Condition(stalled=frozenset(("up", "down")))


class FarNode:
    """One device of a model of its own. `cut` and `mend` its link; the agent may die or freeze."""

    def __init__(self, mesh: Mesh, name: str, model: str, link: Link, *flags: str) -> None:
        self.name = name
        self._mesh, self._link = mesh, link
        self._directory = mesh.home / name
        self._directory.mkdir()
        creds = self._directory / "node.creds"
        trust = Trust.load_or_create(DataDirectory(mesh.data).keys)
        write_private(creds, trust.mint(NODE, name, int(time.time())).encode("ascii"))
        self._argv = [
            *(sys.executable, "-P", "-m", "penstock_node_agent", "--node", name),
            *("--nats-url", f"nats://127.0.0.1:{link.port}", "--creds", str(creds)),
            *("--state-dir", str(self._directory / "state")),
            *("--driver", f"simulated:1x{model}", "--port-range", "24000-24099", *flags),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self._directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                self._argv, stdout=log, stderr=log, env=self._mesh.env, cwd=self._directory
            )

    def cut(self) -> None:
        self._link.set(CUT)
        self._link.reset()

    def mend(self) -> None:
        self._link.set(GOOD)
        self._link.reset()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def end(self) -> None:
        """Nothing of it is left."""
        self.signal(signal.SIGCONT)
        self.kill()
        file = self._directory / "state" / "reaper.pid"
        if file.exists():
            os.kill(int(file.read_text("ascii").split()[0]), signal.SIGTERM)


async def a_link(mesh: Mesh) -> Link:
    """A good one to the mesh's broker; to be closed."""
    where = urlsplit(mesh.nats_url)
    link = Link((where.hostname or "127.0.0.1", where.port or 4222))
    await link.open("127.0.0.1")
    return link


def log_of(mesh: Mesh, name: str) -> str:
    return Path(mesh.home / name / "log").read_text("utf-8")
