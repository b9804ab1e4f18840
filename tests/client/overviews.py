"""What mesh is looked on in the tests of `penstock top`?"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from client.builders import NOW_MS, a_node_use, a_node_view, a_spec, a_view
from client.mesh import FakeMesh
from penstock_contracts.nodes import Device, NodeView
from penstock_contracts.queries import (
    DeviceUse,
    JobsView,
    JobView,
    NodesUseView,
    NodesView,
    NodeUse,
    RankView,
)
from penstock_contracts.samples import DeviceSample, NodeSample, WorkSample

MEMORY_MIB = 81_559
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


def a_host(name: str, devices: int = 8, model: str = "H100", **changes: Any) -> NodeView:
    view = a_node_view(name, **changes)
    found = tuple(
        Device(uuid=f"GPU-{name}-{index}", index=index, model=model, memory_mib=MEMORY_MIB)
        for index in range(devices)
    )
    return replace(view, description=replace(view.description, devices=found))


def broken(view: NodeView, index: int, reason: str) -> NodeView:
    devices = list(view.description.devices)
    devices[index] = replace(devices[index], healthy=False, health_reason=reason)
    return replace(view, description=replace(view.description, devices=tuple(devices)))


def use_of(view: NodeView, jobs: list[JobView]) -> NodeUse:
    held = {uuid for job in jobs for rank in job.ranks for uuid in rank.devices}
    devices = tuple(
        DeviceUse(d.uuid, d.model, 0 if d.uuid in held else 1000, d.healthy)
        for d in view.description.devices
    )
    return a_node_use(view.description.node, devices=devices)


def a_job(name: str, *places: tuple[str, tuple[int, ...]], **changes: Any) -> JobView:
    """`places`: per rank, its node and the numbers of its devices there."""
    ranks = tuple(
        RankView(rank, node, tuple(f"GPU-{node}-{index}" for index in indices))
        for rank, (node, indices) in enumerate(places)
    )
    gpus = len(places[0][1]) if places else 1
    spec = a_spec(name=name, ranks=max(1, len(places)), gpus=gpus)
    values: dict[str, Any] = {"spec": spec, "ranks": ranks, "job_id": spec.job_id}
    return a_view(**{**values, **changes})


def a_sample(view: NodeView, jobs: list[JobView], busy: dict[int, int]) -> NodeSample:
    """`busy`: utilisation of devices by their number; the others stand idle."""
    held = {uuid: job for job in jobs for rank in job.ranks for uuid in rank.devices}
    devices = []
    for device in view.description.devices:
        percent = busy.get(device.index, 0)
        job = held.get(device.uuid)
        used = 600 * percent
        work = (WorkSample(job_id=job.job_id, processes=1, memory_mib=used),) if job else ()
        devices.append(
            DeviceSample(
                uuid=device.uuid,
                index=device.index,
                model=device.model,
                utilisation_percent=percent,
                memory_used_mib=used,
                temperature_c=30 + percent // 3,
                power_mw=71_500 + 6_200 * percent,
                throttled=("temperature",) if percent > 98 else (),
                work=work,
            )
        )
    name = view.description.node
    return NodeSample(node=name, at_ms=NOW_MS, every_ms=10_000, devices=tuple(devices))


class Scene:
    """Four hosts: one at work, one partly, one that is drained and has a broken device, one that
    does not answer and of which there are no readings."""

    def __init__(self) -> None:
        self.nodes = (
            a_host("gpu-01"),
            a_host("gpu-02"),
            broken(a_host("gpu-03", cordoned=True, draining=True), 5, "XID 79: fallen off the bus"),
            a_host("gpu-04", liveness="lost"),
        )
        begun = NOW_MS - 2 * HOUR_MS
        train = a_job(
            "pretrain-7b",
            ("gpu-01", (0, 1, 2, 3)),
            ("gpu-01", (4, 5, 6, 7)),
            ("gpu-02", (0, 1, 2, 3)),
            started_ms=begun,
            submitted_ms=begun - MINUTE_MS,
        )
        serve = a_job("serve", ("gpu-03", (0,)), started_ms=NOW_MS - 95_000)
        lost = a_job("eval", ("gpu-04", (0, 1)), started_ms=NOW_MS - HOUR_MS, state="stopping")
        waits = a_job("sweep-12", state="queued", submitted_ms=NOW_MS - 5_000)
        self.jobs = [train, serve, lost, waits]
        at_work = dict.fromkeys(range(8), 97)
        self.samples = {
            "gpu-01": a_sample(self.nodes[0], [train], at_work | {3: 99}),
            "gpu-02": a_sample(self.nodes[1], [train], {0: 96, 1: 95, 2: 97, 3: 12, 6: 3}),
            "gpu-03": a_sample(self.nodes[2], [serve], {0: 41}),
        }
        self.use = {view.description.node: use_of(view, self.jobs) for view in self.nodes}


async def answer(mesh: FakeMesh, scene: Scene) -> None:
    """The services say what the scene is."""
    await mesh.answer("query.inventory.nodes", NodesView(1, scene.nodes))
    await mesh.answer("query.scheduler.nodes", NodesUseView(1, tuple(scene.use.values())))
    await mesh.answer("query.scheduler.jobs", JobsView(tuple(scene.jobs)))
