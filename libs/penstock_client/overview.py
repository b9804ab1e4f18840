"""What is on every device now, as somebody who looks on would want it?

Nodes as inventory knows them, live jobs as the scheduler does, and readings as agents publish them,
put together per host, device and job. What nobody says is None. It does not know how any of it is
asked for or shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from penstock_contracts.jobs import RUNNING
from penstock_contracts.nodes import Device, NodeView
from penstock_contracts.queries import JobView, NodeUse
from penstock_contracts.samples import DeviceSample, NodeSample, WorkSample

USED, FREE, SICK = "used", "free", "sick"
AWAY = "away"
"""The node does not answer: what is on its devices is not known."""
ALIVE = "alive"
STOPPING = "stopping"
WORKING = (RUNNING, STOPPING)


class DeviceNow(msgspec.Struct, frozen=True, kw_only=True):
    """One device. `state` is one of used, free, sick, away; `jobs`: who holds it."""

    node: str
    uuid: str
    index: int
    model: str
    state: str
    jobs: tuple[str, ...] = ()
    utilisation_percent: int | None = None
    memory_used_mib: int | None = None
    memory_mib: int | None = None
    power_mw: int | None = None
    temperature_c: int | None = None
    throttled: tuple[str, ...] | None = None
    health: str = ""


class NodeNow(msgspec.Struct, frozen=True, kw_only=True):
    """One host. `power_mw`: of those of its devices that say; None when none does."""

    node: str
    liveness: str
    cordoned: bool
    draining: bool
    models: tuple[str, ...]
    devices: tuple[DeviceNow, ...]
    power_mw: int | None = None
    cores_free_milli: int | None = None
    memory_free_mib: int | None = None
    leases: int | None = None


class JobNow(msgspec.Struct, frozen=True, kw_only=True):
    """One live job. `gpu_milli` over all ranks; `utilisation_percent` is the mean over its devices
    that say, `memory_mib` what its processes have there, `power_mw` of devices it has to itself."""

    job_id: str
    tenant: str
    name: str
    state: str
    attempt: int
    gpu_milli: int
    nodes: tuple[str, ...] = ()
    submitted_ms: int
    started_ms: int | None = None
    utilisation_percent: int | None = None
    memory_mib: int | None = None
    power_mw: int | None = None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, as of `at_ms`. `more`: there are more live jobs than these. `silent`: services
    that did not answer, whose part is of before or missing."""

    at_ms: int
    nodes: tuple[NodeNow, ...]
    jobs: tuple[JobNow, ...]
    more: bool = False
    silent: tuple[str, ...] = ()

    def devices(self) -> Iterable[DeviceNow]:
        return (device for node in self.nodes for device in node.devices)


def overview_of(
    at_ms: int,
    nodes: Sequence[NodeView],
    use: Mapping[str, NodeUse],
    jobs: Sequence[JobView],
    samples: Mapping[str, NodeSample],
    *,
    more: bool = False,
    silent: tuple[str, ...] = (),
) -> Overview:
    """`samples`: by node, fresh ones only."""
    holders: dict[str, list[str]] = {}
    for job in jobs:
        for rank in job.ranks:
            if not rank.released:
                for uuid in rank.devices:
                    holders.setdefault(uuid, []).append(job.job_id)
    read = {sample.uuid: sample for node in samples.values() for sample in node.devices}
    return Overview(
        at_ms=at_ms,
        nodes=tuple(
            _node(view, use.get(view.description.node), holders, read)
            for view in sorted(nodes, key=lambda view: view.description.node)
        ),
        jobs=tuple(_job(job, holders, read) for job in sorted(jobs, key=_order)),
        more=more,
        silent=silent,
    )


def _node(
    view: NodeView,
    use: NodeUse | None,
    holders: Mapping[str, list[str]],
    read: Mapping[str, DeviceSample],
) -> NodeNow:
    about = view.description
    here = {device.uuid for device in about.devices} | {device.parent for device in about.devices}
    watts = [read[uuid].power_mw for uuid in here if uuid in read]
    free = {} if use is None else {device.uuid: device.free_milli for device in use.devices}
    return NodeNow(
        node=about.node,
        liveness=view.liveness,
        cordoned=view.cordoned,
        draining=view.draining,
        models=tuple(sorted({device.model for device in about.devices})),
        devices=tuple(_device(view, device, holders, read, free) for device in about.devices),
        power_mw=_sum(watts),
        cores_free_milli=None if use is None else use.cpu_milli_free,
        memory_free_mib=None if use is None else use.memory_mib_free,
        leases=None if use is None else use.leases,
    )


def _device(
    view: NodeView,
    device: Device,
    holders: Mapping[str, list[str]],
    read: Mapping[str, DeviceSample],
    free: Mapping[str, int],
) -> DeviceNow:
    sample = read.get(device.uuid)
    jobs = tuple(dict.fromkeys(holders.get(device.uuid, ())))
    if not device.healthy:
        state = SICK
    elif view.liveness != ALIVE:
        state = AWAY
    elif jobs or free.get(device.uuid, 1000) < 1000:
        state = USED
    else:
        state = FREE
    return DeviceNow(
        node=view.description.node,
        uuid=device.uuid,
        index=device.index,
        model=device.model,
        state=state,
        jobs=jobs,
        utilisation_percent=None if sample is None else sample.utilisation_percent,
        memory_used_mib=None if sample is None else sample.memory_used_mib,
        memory_mib=device.memory_mib,
        power_mw=None if sample is None else sample.power_mw,
        temperature_c=None if sample is None else sample.temperature_c,
        throttled=None if sample is None else sample.throttled,
        health="" if device.healthy else device.health_reason or device.health_code,
    )


def _job(
    job: JobView, holders: Mapping[str, list[str]], read: Mapping[str, DeviceSample]
) -> JobNow:
    busy: list[int | None] = []
    memory: list[int | None] = []
    watts: list[int | None] = []
    for rank in job.ranks:
        for uuid in rank.devices:
            sample = read.get(uuid)
            if sample is None or rank.released:
                continue
            alone = set(holders.get(uuid, ())) == {job.job_id}
            mine = [work for work in sample.work or () if work.job_id == job.job_id]
            busy.append(sample.utilisation_percent if alone else _busy(mine))
            memory.append(_sum(work.memory_mib for work in mine) if mine or not alone else None)
            watts.append(sample.power_mw if alone else None)
    known = [percent for percent in busy if percent is not None]
    spec = job.spec
    return JobNow(
        job_id=job.job_id,
        tenant=job.tenant,
        name=spec.name or " ".join(spec.command),
        state=job.state,
        attempt=job.attempt,
        gpu_milli=spec.ranks * spec.gpus * spec.gpu_milli,
        nodes=tuple(dict.fromkeys(rank.node for rank in job.ranks)),
        submitted_ms=job.submitted_ms,
        started_ms=job.started_ms,
        utilisation_percent=round(sum(known) / len(known)) if known else None,
        memory_mib=_sum(memory),
        power_mw=_sum(watts),
    )


def _busy(work: Sequence[WorkSample]) -> int | None:
    return _sum(one.utilisation_percent for one in work)


def _order(job: JobView) -> tuple[bool, str]:
    """What works first, then what waits, each oldest first."""
    return job.state not in WORKING, job.job_id


def _sum(values: Iterable[int | None]) -> int | None:
    """Of what is known; None when nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
