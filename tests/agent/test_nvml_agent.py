"""What does an agent do on a host with NVIDIA devices?

The real agent, reaper and binding in processes of their own; only the NVML library is the tests'.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.builders import a_shell_order
from agent.scripted import Mesh
from nvml.library import MIB, Script, write_script
from penstock_contracts.leases import LeaseOrder
from penstock_contracts.nodes import Device
from penstock_contracts.samples import NodeSample, WorkSample
from penstock_node_agent.drivers.late import TRY_S

SAMPLE_S = "0.2"
DRIVER_NOT_LOADED = 9
HELD_S = 30.0
"""A device whose memory does not come back is quarantined after 10 s."""


class Gpus:
    """A host with two, of which an agent is told what `script` says."""

    def __init__(self, mesh: Mesh, script: Script) -> None:
        self.mesh, self.script = mesh, script

    def uuid(self, place: int) -> str:
        return str(self.script.gpu[place].uuid.decode())

    def order(self, place: int, script: str, **changes: Any) -> LeaseOrder:
        return a_shell_order(script, devices=(self.uuid(place),), **changes)

    def described(self) -> dict[str, Device]:
        """What was last said of them."""
        self.mesh.hear()
        latest = self.mesh.descriptions[-1].devices if self.mesh.descriptions else ()
        return {device.uuid: device for device in latest}

    async def sample(self) -> NodeSample | None:
        subject = "penstock.v1.node.n1.sample"
        stored = await self.mesh.bus.read_last("SAMPLES", subject)
        return None if stored is None else msgspec.json.decode(stored.payload, type=NodeSample)

    async def work(self, place: int) -> tuple[WorkSample, ...] | None:
        sample = await self.sample()
        return None if sample is None else sample.devices[place].work


@pytest.fixture
def hosted(mesh: Mesh, nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gpus:
    """Without an agent yet."""
    path = tmp_path / "nvml.script"
    script = write_script(path, 2)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvml_library.parent))
    monkeypatch.setenv("NVML_SCRIPT", str(path))
    return Gpus(mesh, script)


@pytest.fixture
async def gpus(hosted: Gpus, agent_factory: Any, eventually: Any) -> Gpus:
    """With an agent that takes orders."""
    agent_factory("--driver", "nvml", "--sample-s", SAMPLE_S)
    await eventually(hosted.mesh.reachable)
    return hosted


async def test_gpus_are_described_and_their_use_is_the_jobs_that_use_them(
    gpus: Gpus, eventually: Any
) -> None:
    mesh = gpus.mesh
    await eventually(lambda: len(gpus.described()) == 2)
    first = gpus.described()[gpus.uuid(0)]
    assert (first.model, first.cuda_version, first.healthy) == ("H100", "13.0", True)
    order = gpus.order(0, "echo $CUDA_VISIBLE_DEVICES $$; exec sleep 60")
    await mesh.order(order)
    await eventually(lambda: mesh.text(order, "stdout"))
    visible, pid = mesh.text(order, "stdout").decode().split()
    assert visible == gpus.uuid(0)
    gpus.script.gpu[0].run(int(pid), 900)
    gpus.script.gpu[0].run(1, 7)

    async def told() -> bool:
        return len(await gpus.work(0) or ()) == 2

    await eventually(told)
    stranger, ours = await gpus.work(0) or ()
    assert (stranger.job_id, stranger.memory_mib) == ("", 7)
    assert (ours.job_id, ours.lease_seq) == (order.job_id, order.lease_seq)
    assert (ours.processes, ours.memory_mib) == (1, 900)
    assert await gpus.work(1) == ()


@pytest.mark.lesson(5, 6)
async def test_an_error_of_one_gpu_ends_the_work_on_it_alone(gpus: Gpus, eventually: Any) -> None:
    mesh = gpus.mesh
    struck, well = (gpus.order(place, "exec sleep 60") for place in (1, 0))
    await mesh.order(struck, well)
    await eventually(lambda: mesh.has(struck, "Started") and mesh.has(well, "Started"))
    gpus.script.xid(1, 79)
    await eventually(lambda: mesh.end(struck) is not None)
    assert mesh.end(struck).reason == "device_failed"
    assert gpus.uuid(1) in mesh.end(struck).message
    await eventually(lambda: not gpus.described()[gpus.uuid(1)].healthy)
    devices = gpus.described()
    assert devices[gpus.uuid(1)].health_code == "xid_79"
    assert devices[gpus.uuid(0)].healthy
    assert mesh.end(well) is None


@pytest.mark.lesson(9)
async def test_a_gpu_whose_memory_does_not_come_back_is_not_given_back(
    gpus: Gpus, eventually: Any
) -> None:
    mesh = gpus.mesh
    order = gpus.order(0, "true")
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Released"))
    again = gpus.order(0, "echo on; exec sleep 0.5")
    await mesh.order(again)
    await eventually(lambda: mesh.text(again, "stdout") == b"on\n")
    gpus.script.gpu[0].used = 900 * MIB

    def quarantined() -> bool:
        return gpus.described()[gpus.uuid(0)].health_code == "memory_held"

    await eventually(quarantined, timeout_s=HELD_S)
    assert mesh.end(again).exit_code == 0
    assert not mesh.has(again, "Released")
    gpus.script.gpu[0].used = 0
    await eventually(lambda: mesh.has(again, "Released"), timeout_s=HELD_S)


async def test_a_gpu_that_is_cut_while_the_agent_runs_is_its_instances_from_then_on(
    gpus: Gpus, eventually: Any
) -> None:
    mesh = gpus.mesh
    await eventually(lambda: len(gpus.described()) == 2)
    gpus.script.gpu[1].cut("4g.40gb", "3g.40gb")

    def offered() -> list[tuple[str, str, bool]]:
        return [(d.model, d.parent, d.healthy) for d in gpus.described().values()]

    whole = ("H100", "", True)
    parts = [(f"H100-{profile}", gpus.uuid(1), True) for profile in ("4g.40gb", "3g.40gb")]
    await eventually(lambda: sorted(offered()) == sorted([whole, *parts]))
    (instance,) = (d for d in gpus.described().values() if d.model == "H100-3g.40gb")
    order = a_shell_order("echo $CUDA_VISIBLE_DEVICES", devices=(instance.uuid,))
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Released"))
    await eventually(lambda: mesh.text(order, "stdout") == f"{instance.uuid}\n".encode())
    gpus.script.gpu[1].cut("7g.80gb")
    await eventually(lambda: sorted(offered()) == [whole, ("H100-7g.80gb", gpus.uuid(1), True)])


@pytest.mark.long
async def test_a_driver_that_is_loaded_while_the_agent_runs_makes_it_a_host_with_gpus(
    hosted: Gpus, agent_factory: Any, eventually: Any
) -> None:
    hosted.script.init_code = DRIVER_NOT_LOADED
    agent_factory("--driver", "auto", "--sample-s", SAMPLE_S)
    await eventually(hosted.mesh.reachable)
    assert hosted.described() == {}
    assert hosted.mesh.descriptions[-1].driver == "cpu"
    hosted.script.init_code = 0
    await eventually(lambda: len(hosted.described()) == 2, timeout_s=TRY_S + HELD_S)
    assert hosted.mesh.descriptions[-1].driver == "nvml"
    order = hosted.order(1, "true")
    await hosted.mesh.order(order)
    await eventually(lambda: hosted.mesh.has(order, "Released"))
