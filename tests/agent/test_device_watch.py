"""What does a living agent do when its devices fail, or are not known yet?

The real agent in this process, with its real reaper and broker, over a driver that a test commands.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from agent.builders import a_shell_order, an_order
from agent.living import LONG_S, Gpus, Living
from agent.scripted import Mesh
from penstock_bus.port import NoResponders, Outage
from penstock_contracts.leases import Declined
from penstock_node_agent.core.devices import GONE
from penstock_node_agent.devices import watch as device_watch
from penstock_node_agent.devices.watch import DeviceWatch
from penstock_runtime.clock import VirtualClock


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
    first, last = mesh.devices_told()
    assert [device.healthy for device in first] == [True, True, True, True]
    assert [device.healthy for device in last] == [True, False, True, True]
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
    await eventually(lambda: len(mesh.devices_told()) == 2)
    assert not mesh.devices_told()[-1][3].healthy


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
    assert len(mesh.devices_told()) == 1


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
    watch = DeviceWatch(Gpus(), VirtualClock(), (), LONG_S)
    task = asyncio.ensure_future(watch.keep(lambda devices: None))
    for _ in range(5):
        await asyncio.sleep(0)
    watch.look_soon()
    task.cancel()
    done, _ = await asyncio.wait((task,), timeout=5.0)
    assert done and task.cancelled()
