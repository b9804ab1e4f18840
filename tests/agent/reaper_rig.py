"""How does one test drive a real reaper and a simulated one?

The same requests and waits on both: a real one in its own state directory, and the same code in a
world of virtual time. It does not judge what they tell.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from pathlib import Path
from typing import Any

from agent.reaper_client import ReaperClient, alive, boottime_ns, wait_until
from penstock_bus.memory_broker import MemoryBroker
from tests.checkers.history import History
from tests.simulation.host import SimulatedHost
from tests.simulation.host_lives import STATE
from tests.simulation.kernel import Kernel
from tests.simulation.terrain import plain_ground
from tests.simulation.workload import Script

WAIT_S = 60.0
ENVIRONMENT = {
    "PENSTOCK_NODE": "n1",
    "PENSTOCK_TENANT": "acme",
    "PENSTOCK_JOB_ID": "J",
    "PENSTOCK_ATTEMPT": "1",
    "PENSTOCK_LEASE": "1/J/0",
    "RANK": "0",
    "CUDA_VISIBLE_DEVICES": "",
}


class RealRig:
    """`ran`: how often each key's program has been started, counted by the programs."""

    def __init__(self, directory: Path) -> None:
        self._client = ReaperClient(directory)
        self._directory = directory

    async def start(self) -> None:
        await self._client.start()

    def connect(self) -> None:
        self._client.connect()

    def spawn(self, key: str, script: Script, **changes: Any) -> None:
        end = f"kill -{script.signal} $$" if script.signal else f"exit {script.exit_code}"
        trap = "trap '' TERM;" if script.stubborn else ""
        text = f"{trap} echo x >>{self._directory}/{key}.ran; sleep {script.run_s}; {end}"
        if script.out_bytes:
            text = f"head -c {script.out_bytes} /dev/zero; {text}"
        if script.fails_to_start:
            self._client.spawn(key, *script.command(), **changes)
        else:
            self._client.shell(key, text, **changes)

    def ran(self, key: str) -> int:
        path = self._directory / f"{key}.ran"
        return len(path.read_text("ascii").splitlines()) if path.exists() else 0

    def send(self, **request: Any) -> None:
        self._client.send(**request)

    def now_ns(self) -> int:
        return boottime_ns()

    def wait_for(self, kind: str, key: str | None = None) -> list[Any]:
        return self._client.wait_for(kind, key)

    def wait_until_running(self, key: str) -> None:
        wait_until(lambda: self.ran(key), f"{key} runs")

    def kill_reaper(self) -> None:
        self._client.kill_reaper()

    def terminate_reaper(self) -> None:
        pid = self._client.pid
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not alive(pid), "the reaper ends")

    def close(self) -> None:
        self._client.close()


class _Listener(asyncio.Protocol):
    def __init__(self) -> None:
        self.lines: list[list[Any]] = []
        self._unread = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._unread = (self._unread + data).split(b"\n")
        self.lines += [json.loads(line) for line in lines]


class SimulatedRig:
    def __init__(self) -> None:
        self._kernel = Kernel(1)
        self.history = History()
        broker = MemoryBroker(lambda: self._kernel.now_ns, rng=random.Random(1))
        self.host = SimulatedHost(self._kernel, broker, self.history, "n1", plain_ground("n1", 1))
        self.host.boot(with_agent=False)
        self._listener = _Listener()
        self._wire: Any = None
        self._programs: dict[str, int] = {}

    async def start(self) -> None:
        self.host.reaper.start()
        self._run_until(lambda: self.host.reaper.channel is not None, "the reaper listens")
        self.connect()

    def connect(self) -> None:
        channel = self.host.reaper.channel
        if channel is None:
            raise ConnectionRefusedError("no reaper")
        self._listener = _Listener()
        self._wire = channel.connect(self._listener)
        self.wait_for("ready")

    def spawn(self, key: str, script: Script, **changes: Any) -> None:
        work = f"{STATE}/w"
        self.host.disk.make_directory(work)
        order: dict[str, Any] = {
            "argv": script.command(),
            "env": {**ENVIRONMENT, "PENSTOCK_JOB_ID": key},
            "cwd": work,
            "out": f"{STATE}/{key}.out",
            "err": f"{STATE}/{key}.err",
            "grace_s": 5,
            "limit_s": None,
            "disconnect_s": None,
            "contact_ns": self.now_ns(),
        }
        self.send(op="spawn", key=key, **{**order, **changes})

    def ran(self, key: str) -> int:
        return sum(run.job_id == key for run in self.history.runs)

    def send(self, **request: Any) -> None:
        self._wire.write(json.dumps(request).encode() + b"\n")

    def now_ns(self) -> int:
        return self.host.clock.boottime_ns()

    def wait_for(self, kind: str, key: str | None = None) -> list[Any]:
        def found() -> list[list[Any]]:
            lines = self._listener.lines
            return [x for x in lines if x[0] == kind and (key is None or x[1] == key)]

        self._run_until(lambda: bool(found()), f"{kind} {key}")
        return found()[0]

    def wait_until_running(self, key: str) -> None:
        self._run_until(lambda: bool(self.ran(key)), f"{key} runs")

    def pass_time(self, seconds: float) -> None:
        loop = self._kernel.loop
        loop.run_until(lambda: False, loop.time() + seconds)

    def kill_reaper(self) -> None:
        self.host.kill_reaper()
        self.pass_time(0.1)

    def terminate_reaper(self) -> None:
        self.host.reaper.leave()
        self._run_until(lambda: not self.host.reaper_alive, "the reaper ends")

    def close(self) -> None:
        self.host.lose_power()

    def _run_until(self, done: Any, what: str) -> None:
        loop = self._kernel.loop
        loop.run_until(done, loop.time() + WAIT_S)
        if not done():
            raise AssertionError(
                f"not within {WAIT_S} s: {what}; crashes {self.host.kernel.crashes}"
            )
