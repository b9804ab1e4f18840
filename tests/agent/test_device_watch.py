"""What does a living agent do when its devices fail, or are not known yet?

The real agent in this process, with its real reaper and broker, over a driver that a test commands.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.builders import a_shell_order, an_order
from agent.scripted import Mesh
from penstock_bus.nats import connect
from penstock_bus.port import NoResponders, Outage
from penstock_contracts.leases import Declined
from penstock_contracts.nodes import Device
from penstock_node_agent import device_watch, reaper_package
from penstock_node_agent.config import Config
from penstock_node_agent.core.devices import GONE
from penstock_node_agent.device_watch import DeviceWatch
from penstock_node_agent.drivers.port import DriverSilent
from penstock_node_agent.drivers.simulated import Simulated, SimulatedDriver
from penstock_node_agent.host import this_host
from penstock_node_agent.service import live
from penstock_runtime.clock import VirtualClock
from penstock_runtime.process import EXIT_OK, StopSignal

LONG_S = 3_600.0


class Driver(SimulatedDriver):
    """Four devices. `gone`: which of them cannot be found; `known`: until it is set, looking takes
    for ever."""

    def __init__(self) -> None:
        super().__init__(Simulated(4, "H100"), node="n1")
        self.gone: set[str] = set()
        self.silent = False
        self.looks = 0
        self.asked, self.known = threading.Event(), threading.Event()
        self.known.set()

    def discover(self) -> tuple[Device, ...]:
        self.asked.set()
        self.known.wait()
        self.looks += 1
        if self.silent:
            raise DriverSilent("as a test wants it")
        return tuple(device for device in super().discover() if device.uuid not in self.gone)


class Living:
    """The agent of node n1. `sample_s`: how often it looks at its devices without a cause."""

    def __init__(self, directory: Path, url: str) -> None:
        self.driver, self.stop = Driver(), StopSignal()
        self.directory, self._url = directory / "state", url
        self._task: asyncio.Task[int] | None = None

    def start(self, *, sample_s: float) -> None:
        self.directory.mkdir()
        config = Config(node="n1", state_dir=self.directory, sample_s=sample_s)
        dial = partial(connect, self._url, name="agent")
        host = this_host(config, self.driver)
        self._task = asyncio.create_task(live(config, host, dial, self.stop))

    async def end(self) -> None:
        self.driver.known.set()
        self.stop.request("the test is over")
        if self._task is not None:
            assert await self._task == EXIT_OK
        await reaper_package.end(self.directory, 6.5)


@pytest.fixture
async def living(
    nats_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Living]:
    monkeypatch.setattr(device_watch, "AGAIN_S", 0.02)
    agent = Living(tmp_path, nats_server.url)
    yield agent
    await agent.end()


@pytest.mark.lesson(5, 6)
async def test_a_gpu_that_falls_off_the_bus_ends_the_work_on_it_by_name_and_nothing_else(
    mesh: Mesh, living: Living, eventually: Any
) -> None:
    living.start(sample_s=0.1)
    await eventually(mesh.reachable)
    struck = an_order(command=("sleep", "600"), devices=("SIM-n1-1",))
    well = a_shell_order("while ! [ -e go ]; do sleep 0.02; done", devices=("SIM-n1-2",))
    await mesh.order(struck, well)
    await eventually(lambda: mesh.has(struck, "Started") and mesh.has(well, "Started"))
    living.driver.gone = {"SIM-n1-1"}
    await eventually(lambda: mesh.has(struck, "Released"))
    end = mesh.end(struck)
    assert (end.reason, end.exit_code) == ("device_failed", None)
    assert end.message == f"device SIM-n1-1 is unhealthy: {GONE}"
    first, last = mesh.descriptions
    assert [device.healthy for device in first.devices] == [True, True, True, True]
    assert [device.healthy for device in last.devices] == [True, False, True, True]
    assert not mesh.has(well, "Exited")
    again = an_order(devices=("SIM-n1-1",))
    await mesh.order(again)
    await eventually(lambda: mesh.has(again, "Declined"))
    declined = mesh.story(again)[-1]
    assert isinstance(declined, Declined) and declined.code == "device_unhealthy"
    for slot in (living.directory / "work").glob("*"):
        (slot / "go").touch()
    await eventually(lambda: mesh.has(well, "Released"))
    assert mesh.end(well).exit_code == 0


@pytest.mark.lesson(6)
async def test_work_that_fails_has_its_devices_looked_at_before_the_next_is_hurt(
    mesh: Mesh, living: Living, eventually: Any
) -> None:
    living.start(sample_s=LONG_S)
    await eventually(mesh.reachable)
    living.driver.gone = {"SIM-n1-3"}
    crashed = an_order(command=("false",), devices=("SIM-n1-3",))
    await mesh.order(crashed)
    await eventually(lambda: mesh.hear() or len(mesh.descriptions) == 2)
    assert not mesh.descriptions[-1].devices[3].healthy


@pytest.mark.lesson(12, 24)
async def test_a_driver_that_falls_silent_ends_no_work(
    mesh: Mesh, living: Living, eventually: Any
) -> None:
    living.start(sample_s=0.1)
    await eventually(mesh.reachable)
    order = an_order(command=("sleep", "600"), devices=("SIM-n1-1",))
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Started"))
    living.driver.silent = True
    looks = living.driver.looks
    await eventually(lambda: living.driver.looks >= looks + 3)
    assert await mesh.reachable()
    assert not mesh.has(order, "Exited")
    assert len(mesh.descriptions) == 1


@pytest.mark.lesson(7)
async def test_an_agent_takes_no_order_before_it_has_found_its_devices(
    mesh: Mesh, living: Living, eventually: Any
) -> None:
    living.driver.known.clear()
    living.start(sample_s=LONG_S)
    reaper = living.directory / "reaper.sock"
    order = an_order(devices=("SIM-n1-0",))
    await eventually(living.driver.asked.is_set)
    for _ in range(50):
        with suppress(Outage, NoResponders):
            pytest.fail(f"it answered {await mesh.order(order)} without devices")
    assert not reaper.exists() and not mesh.descriptions
    living.driver.known.set()
    await eventually(mesh.reachable)
    assert (await mesh.order_all()).ok
    await eventually(lambda: mesh.has(order, "Released"))
    assert mesh.end(order).exit_code == 0
    assert len(mesh.descriptions[0].devices) == 4


async def test_a_watch_that_is_ended_just_when_it_is_to_look_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device_watch, "AGAIN_S", 0)
    watch = DeviceWatch(Driver(), VirtualClock(), (), LONG_S)
    task = asyncio.ensure_future(watch.keep(lambda devices: None))
    for _ in range(5):
        await asyncio.sleep(0)
    watch.look_soon()
    task.cancel()
    done, _ = await asyncio.wait((task,), timeout=5.0)
    assert done and task.cancelled()
