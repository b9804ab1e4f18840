"""Does everything that the tests' own NVML library stands for hold on a real card?

Skipped where there is none. Nothing of the card's settings or MIG layout is changed.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.builders import a_shell_order, an_order
from agent.scripted import AgentProcess, Mesh
from penstock_contracts.leases import LeaseOrder
from penstock_contracts.nodes import Device
from penstock_contracts.samples import DeviceSample, NodeSample
from penstock_contracts.work import FRACTIONS
from penstock_node_agent.drivers.nvml import NvmlDriver
from penstock_node_agent.drivers.port import Reading

pytestmark = pytest.mark.gpu
PROGRAM = Path(__file__).parent / "cuda.py"
MIB_TAKEN = 1_024
LONG_S = 60.0


def first(card: NvmlDriver) -> Device:
    return next(d for d in card.discover() if d.healthy and not d.parent)


def reading(card: NvmlDriver) -> Reading:
    uuid = first(card).uuid
    return next(reading for reading in card.sample() if reading.uuid == uuid)


def a_cuda_order(device: Device, *, too_much_mib: int = 0, **changes: Any) -> LeaseOrder:
    """A job that takes memory and works on it."""
    command = (sys.executable, str(PROGRAM), str(MIB_TAKEN), str(too_much_mib))
    order = a_shell_order("", devices=(device.uuid,), **changes)
    return msgspec.structs.replace(order, command=command)


async def seen_by(mesh: Mesh, order: LeaseOrder, eventually: Any) -> dict[str, Any]:
    """What the job has said of its card."""

    def told() -> bool:
        text = mesh.text(order, "stdout") + mesh.text(order, "stderr")
        return text.endswith(b"\n")

    await eventually(told, timeout_s=LONG_S)
    assert not mesh.text(order, "stderr"), mesh.text(order, "stderr").decode()
    found: dict[str, Any] = json.loads(mesh.text(order, "stdout"))
    return found


async def an_agent(mesh: Mesh, agent_factory: Any, eventually: Any) -> AgentProcess:
    agent: AgentProcess = agent_factory("--driver", "nvml", "--sample-s", "0.5")
    await eventually(mesh.reachable, timeout_s=LONG_S)
    return agent


def test_the_card_is_described(card: NvmlDriver) -> None:
    device = first(card)
    assert re.fullmatch(r"GPU-[0-9a-f-]{36}", device.uuid)
    assert device.memory_mib is not None and device.memory_mib > 1_024
    assert re.fullmatch(r"[0-9]+\.[0-9]", device.compute_capability)
    assert re.fullmatch(r"[0-9]+\.[0-9.]+", device.driver_version)
    assert re.fullmatch(r"[0-9]+\.[0-9]", device.cuda_version)
    assert re.fullmatch(r"[0-9A-F]{8}:[0-9A-F]{2}:[0-9A-F]{2}\.0", device.pci_bus)


def test_the_card_is_read_within_its_limits(card: NvmlDriver) -> None:
    now = reading(card)
    total = (now.memory_used_mib or 0) + (now.memory_free_mib or 0) + (now.memory_reserved_mib or 0)
    assert abs(total - (first(card).memory_mib or 0)) <= 2
    assert now.utilisation_percent is not None and 0 <= now.utilisation_percent <= 100
    assert now.temperature_c is not None and 0 < now.temperature_c < 120
    assert now.power_mw is not None and 1_000 < now.power_mw < 2_000_000
    assert now.sm_clock_mhz is not None and 0 < now.sm_clock_mhz < 5_000
    assert now.vitals is not None and (now.vitals.error, now.vitals.lost) == ("", False)


async def test_energy_is_what_power_adds_up_to(card: NvmlDriver, eventually: Any) -> None:
    before = reading(card)
    assert before.energy_mj is not None and before.power_mw is not None

    def used_mj() -> int:
        return (reading(card).energy_mj or 0) - (before.energy_mj or 0)

    await eventually(lambda: used_mj() > before.power_mw // 2)  # half a second's


def test_errors_can_be_listened_for(card: NvmlDriver) -> None:
    ear = card.listen(lambda xid: None)
    assert reading(card).xid == 0
    ear.close()


async def test_a_cuda_process_is_its_jobs_and_sees_its_card_alone(
    card: NvmlDriver, mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    device = first(card)
    await an_agent(mesh, agent_factory, eventually)
    order = a_cuda_order(device)
    await mesh.order(order)
    seen = await seen_by(mesh, order, eventually)
    assert (seen["devices"], seen["gets_memory"]) == (1, True)

    async def sampled() -> DeviceSample | None:
        stored = await mesh.bus.read_last("SAMPLES", "penstock.v1.node.n1.sample")
        if stored is None:
            return None
        sample = msgspec.json.decode(stored.payload, type=NodeSample)
        mine = next(one for one in sample.devices if one.uuid == device.uuid)
        held = any(work.job_id == order.job_id for work in mine.work or ())
        return mine if held and mine.utilisation_percent else None

    sample = await eventually(sampled, timeout_s=LONG_S)
    (work,) = (work for work in sample.work if work.job_id == order.job_id)
    assert work.processes == 1
    assert work.memory_mib is None or work.memory_mib >= MIB_TAKEN
    assert sample.memory_used_mib >= MIB_TAKEN


@pytest.mark.lesson(9)
async def test_a_card_is_given_back_when_its_memory_is_back(
    card: NvmlDriver, mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    device = first(card)
    idle_mib = reading(card).memory_used_mib or 0
    await an_agent(mesh, agent_factory, eventually)
    order = a_cuda_order(device)
    await mesh.order(order)
    await seen_by(mesh, order, eventually)
    assert (reading(card).memory_used_mib or 0) >= idle_mib + MIB_TAKEN
    await mesh.order(dropped=(order.key,))
    await eventually(lambda: not device_is_used(card, device, idle_mib), timeout_s=LONG_S)
    again = an_order(command=("/bin/true",), devices=(device.uuid,), granted_ns=order.granted_ns)
    await mesh.order(again)
    await eventually(lambda: mesh.has(again, "Released"), timeout_s=LONG_S)
    assert mesh.end(again).exit_code == 0


def device_is_used(card: NvmlDriver, device: Device, idle_mib: int) -> bool:
    use = card.memory_in_use((device.uuid,))[device.uuid]
    return (use.used_mib or 0) > idle_mib


@pytest.mark.lesson(17)
async def test_a_part_of_a_card_is_held_to_its_memory_and_its_multiprocessors(
    card: NvmlDriver, mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    device = first(card)
    await an_agent(mesh, agent_factory, eventually)
    mesh.hear()
    if FRACTIONS not in mesh.descriptions[-1].offers:
        pytest.skip(f"this host does not enforce parts: {mesh.descriptions[-1].facts}")
    whole = a_cuda_order(device)
    await mesh.order(whole)
    all_of_it = await seen_by(mesh, whole, eventually)
    await mesh.order(dropped=(whole.key,))
    part = a_cuda_order(device, gpu_milli=250, gpu_memory_mib=4_096, too_much_mib=8_192)
    await mesh.order(part)
    seen = await seen_by(mesh, part, eventually)
    assert seen["multiprocessors"] <= all_of_it["multiprocessors"] // 3
    assert seen["free_mib"] <= 4_300
    assert (seen["gets_memory"], seen["gets_too_much"]) == (True, False)
