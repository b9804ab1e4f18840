"""What is an agent in this process, over devices that a test commands?

The real agent, its real reaper and a real broker. It does not know what is to be shown.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from penstock_bus.nats import connect
from penstock_contracts.nodes import Device
from penstock_node_agent import reaper_package
from penstock_node_agent.config import Config
from penstock_node_agent.drivers.port import (
    DRIVER_ERROR,
    DriverSilent,
    Listening,
    MemoryUse,
    Vitals,
    Xid,
)
from penstock_node_agent.drivers.simulated import Simulated, SimulatedDriver
from penstock_node_agent.host import this_host
from penstock_node_agent.service import live
from penstock_runtime.process import EXIT_OK, StopSignal

LONG_S = 3_600.0


class Gpus(SimulatedDriver):
    """Four devices. `gone`: which of them cannot be found; `failing`: which do not answer to calls;
    `errors`: uncorrectable memory errors; `used`: what is on them; `known`: until it is set,
    looking takes for ever."""

    def __init__(self, *, can_check: bool = False) -> None:
        super().__init__(Simulated(4, "H100"), node="n1")
        self.can_check = can_check
        self.gone: set[str] = set()
        self.failing: set[str] = set()
        self.errors: dict[str, int] = {}
        self.used: dict[str, MemoryUse] = {}
        self.silent = False
        self.looks = 0
        self.asked, self.known = threading.Event(), threading.Event()
        self.known.set()
        self._ears: list[Callable[[Xid], None]] = []

    def discover(self) -> tuple[Device, ...]:
        self.asked.set()
        self.known.wait()
        self.looks += 1
        if self.silent:
            raise DriverSilent("as a test wants it")
        found = (device for device in super().discover() if device.uuid not in self.gone)
        return tuple(self._described(device) for device in found)

    def vitals(self) -> tuple[Vitals, ...]:
        return tuple(
            Vitals(uuid=device.uuid, index=device.index, ecc_uncorrectable=self.errors[device.uuid])
            for device in super().discover()
            if device.uuid in self.errors
        )

    def memory_in_use(self, uuids: Sequence[str]) -> dict[str, MemoryUse]:
        empty = MemoryUse(used_mib=0, pids=())
        out = self.gone | self.failing
        return {uuid: self.used.get(uuid, empty) for uuid in uuids if uuid not in out}

    def listen(self, tell: Callable[[Xid], None]) -> Listening:
        return _Ear(self._ears, tell)

    def err(self, uuid: str, code: int) -> None:
        """Its driver tells an XID, on a thread of its own."""
        for ear in list(self._ears):
            thread = threading.Thread(target=ear, args=(Xid(uuid, code),))
            thread.start()
            thread.join()

    def _described(self, device: Device) -> Device:
        if device.uuid not in self.failing:
            return device
        return msgspec.structs.replace(
            device, healthy=False, health_code=DRIVER_ERROR, health_reason="Unknown Error"
        )


class _Ear:
    def __init__(self, ears: list[Callable[[Xid], None]], tell: Callable[[Xid], None]) -> None:
        self._ears, self._tell = ears, tell
        ears.append(tell)

    def close(self) -> None:
        self._ears.remove(self._tell)


class Living:
    """The agent of node n1. `sample_s`: how often it looks at its devices without a cause."""

    def __init__(self, directory: Path, url: str) -> None:
        self.driver, self.stop = Gpus(), StopSignal()
        self.directory, self._url = directory / "state", url
        self._task: asyncio.Task[int] | None = None

    def start(self, **settings: Any) -> None:
        self.directory.mkdir(exist_ok=True)
        config = Config(node="n1", state_dir=self.directory, **settings)
        dial = partial(connect, self._url, name="agent")
        host = this_host(config, self.driver)
        self.stop = StopSignal()
        self._task = asyncio.create_task(live(config, host, dial, self.stop))

    async def stop_agent(self) -> None:
        """Its reaper and its work go on."""
        self.driver.known.set()
        self.stop.request("as a test wants it")
        if self._task is not None:
            assert await self._task == EXIT_OK
            self._task = None

    async def end(self) -> None:
        await self.stop_agent()
        await reaper_package.end(self.directory, 6.5)
