"""How does a test run metering as real processes?

Starts them over one data directory, reads their pages, asks for an audit. Whatever still runs is
killed afterwards. It does not know what tests expect.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import msgspec

from metering.world import World
from penstock_bus.port import Bus
from penstock_contracts.queries import MeteringAudit, MeteringAuditQuery
from penstock_mesh.ports import any_free_port

QUICK = (
    "import penstock_metering.service as s; from penstock_runtime.pace import Pace; "
    "s.PACE = Pace(silence_s=1.5, refresh_s=0.3, poll_s=0.1); "
    "from penstock_metering.command import command; command()"
)
"""The same process with a lock that is handed on sooner."""


SOLD_S_MAX = 20.0
POLL_S = 0.05


class Instance:
    """One process; `restart` gives it another life on the same port."""

    def __init__(self, directory: Path, nats_url: str, *, quick: bool = False) -> None:
        self.port = any_free_port("127.0.0.1")
        self._log = directory / f"metering-{self.port}.log"
        entry = ["-c", QUICK] if quick else ["-m", "penstock_metering"]
        self._argv = [
            *(sys.executable, *entry, "--nats-url", nats_url),
            *("--data-dir", str(directory / "data"), "--http-port", str(self.port)),
        ]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with open(self._log, "ab") as log:
            return subprocess.Popen(self._argv, stderr=log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.kill()
        self.process = self._start()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def fetch(self, page: str) -> tuple[int, str]:
        """Status and text; (0, "") while nothing listens."""
        try:
            url = f"http://127.0.0.1:{self.port}{page}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    @property
    def is_ready(self) -> bool:
        return self.fetch("/readyz")[0] == 200

    @property
    def stands_by(self) -> bool:
        return self.fetch("/readyz")[1].startswith("standby: metering-")


async def audit(bus: Bus, world: World) -> MeteringAudit:
    """Without agents to answer: every node is compared up to its last report."""
    question = MeteringAuditQuery(len(world.streams["JOBS"]), len(world.streams["NODES"]))
    subject = "penstock.v1.query.metering.audit"
    answer = await bus.request(subject, msgspec.json.encode(question), timeout_s=20)
    return msgspec.convert(msgspec.json.decode(answer.payload)["value"], MeteringAudit)


async def audit_when_sold(bus: Bus, world: World, sold: int) -> MeteringAudit:
    """The first audit that knows of so much use, or what there is after `SOLD_S_MAX`: agents that
    answer would say how far USAGE goes."""
    deadline = time.monotonic() + SOLD_S_MAX
    while True:
        said = await audit(bus, world)
        if said.device_milli_ms["sold"] >= sold or time.monotonic() > deadline:
            return said
        await asyncio.sleep(POLL_S)


def a_long_story(runs: int) -> tuple[World, int]:
    """Two nodes with many jobs, and the milli-GPU·ms they are sold for."""
    world = World()
    agents = [world.a_node(name, gpus=4) for name in ("n1", "n2")]
    for index in range(runs):
        agent = agents[index % 2]
        world.a_run(agent.name, agent.devices[: 1 + index % 3], for_ms=index)
        if index % 7 == 0:
            agent.send()
    for agent in agents:
        agent.send()
    return world, sum((1 + index % 3) * index * 1_000 for index in range(runs))
