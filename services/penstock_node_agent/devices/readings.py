"""What do a node's devices read now, and which work uses them?

Sampled every few seconds, published on `node.<node>.sample`, and kept for Prometheus. A process
counts for the lease that it belongs to. What devices drew and how much they were used is told to
the core, which counts it. It does not know where readings come from.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

import msgspec

from penstock_bus.port import Bus, Outage
from penstock_contracts.ids import ROOT
from penstock_contracts.leases import LeaseOrder
from penstock_contracts.samples import (
    WORK_PER_DEVICE_MAX,
    DeviceSample,
    NodeSample,
    WorkSample,
)
from penstock_node_agent.core.events import DeviceRead, DevicesRead
from penstock_node_agent.core.state import RUNNING, State
from penstock_node_agent.devices.dcgm import metrics_of
from penstock_node_agent.drivers.port import DriverSilent, ProcessReading, Reading
from penstock_node_agent.host import Host
from penstock_runtime.metrics import Metric

_COPIED = tuple(
    field for field in DeviceSample.__struct_fields__ if field in Reading.__struct_fields__
)

WORK_MAX = 512
"""Of all devices, so that a sample of 256 fits one message."""

MILLI_PER_PERCENT = 10

Tell = Callable[[DevicesRead], None]

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class Work(NamedTuple):
    """What runs on a node: orders by lease key, keys by slot."""

    orders: Mapping[str, LeaseOrder]
    keys: Mapping[int, str]

    def key_of_slot(self, slot: int) -> str:
        return self.keys.get(slot, "")

    def alone(self) -> dict[str, LeaseOrder]:
        """Per device that one job has to itself, its order."""
        found: dict[str, LeaseOrder] = {}
        shared: set[str] = set()
        for order in self.orders.values():
            for uuid in order.devices:
                before = found.setdefault(uuid, order)
                if before.job_id != order.job_id:
                    shared.add(uuid)
        return {uuid: order for uuid, order in found.items() if uuid not in shared}


def work_of(state: State) -> Work:
    """What runs now, as the agent knows it."""
    running = {key: lease for key, lease in state.leases.items() if lease.stage == RUNNING}
    return Work(
        {key: lease.order for key, lease in running.items()},
        {lease.slot: key for key, lease in running.items() if lease.slot is not None},
    )


def in_use(state: State) -> Collection[str]:
    """Devices that something runs on; may be asked from a thread."""
    running = (lease for lease in list(state.leases.values()) if lease.stage == RUNNING)
    return {uuid for lease in running for uuid in lease.order.devices}


class Sampler:
    """The newest readings of a host's driver. `work`: what runs when it is asked. `tell`: takes
    what is to be counted."""

    def __init__(
        self,
        bus: Bus,
        host: Host,
        node: str,
        interval_s: float,
        work: Callable[[], Work],
        tell: Tell,
    ) -> None:
        self._bus, self._host, self._node = bus, host, node
        self._interval_s, self._work, self._tell = interval_s, work, tell
        self._readings: tuple[Reading, ...] = ()

    async def keep(self) -> None:
        """Sample until cancelled; a driver may take its time on a thread."""
        while True:
            at_ns = self._host.clock.boottime_ns()
            try:
                sample = await asyncio.to_thread(self._take, self._work())
            except DriverSilent as error:
                self._readings = ()
                log.error("the devices cannot be read: %s", error)
            else:
                self._count(at_ns)
                self._publish(sample)
            await asyncio.sleep(self._interval_s)

    def metrics(self) -> Iterator[Metric]:
        """Newest readings; what a device does not say is left out."""
        return metrics_of(self._readings, self._node, self._work().alone())

    def _take(self, work: Work) -> NodeSample:
        """On a thread: the driver and the host's processes are asked."""
        readings = self._host.driver.sample()
        processes = [process for reading in readings for process in reading.processes or ()]
        pids = sorted({process.pid for process in processes})
        owners = self._host.owners_of(pids, work.key_of_slot) if pids else {}
        self._readings = readings
        room = min(WORK_PER_DEVICE_MAX, max(1, WORK_MAX // max(1, len(readings))))
        return NodeSample(
            node=self._node,
            at_ms=self._host.clock.now_ns() // 1_000_000,
            every_ms=round(self._interval_s * 1000),
            devices=tuple(_device(reading, owners, work, room) for reading in readings),
        )

    def _count(self, at_ns: int) -> None:
        said = tuple(_counted(reading) for reading in self._readings if _counts(reading))
        if said:
            self._tell(DevicesRead(at_ns=at_ns, readings=said))

    def _publish(self, sample: NodeSample) -> None:
        if sample.devices:
            with suppress(Outage):  # the next sample replaces it
                self._bus.publish_nowait(f"{ROOT}.node.{self._node}.sample", _encode(sample))


def _counts(reading: Reading) -> bool:
    return reading.energy_mj is not None or reading.utilisation_percent is not None


def _counted(reading: Reading) -> DeviceRead:
    percent = reading.utilisation_percent
    used_milli = None if percent is None else percent * MILLI_PER_PERCENT
    return DeviceRead(reading.uuid, reading.energy_mj, used_milli)


def _device(reading: Reading, owners: Mapping[int, str], work: Work, room: int) -> DeviceSample:
    """With at most `room` of what uses it."""
    values = {field: getattr(reading, field) for field in _COPIED}
    used = None
    if reading.processes is not None:
        used = tuple(_work(reading.processes, owners, work))[:room]
    throttled = None if reading.vitals is None else reading.vitals.throttled
    return DeviceSample(**values, throttled=throttled, work=used)


def _work(
    processes: Iterable[ProcessReading], owners: Mapping[int, str], work: Work
) -> Iterator[WorkSample]:
    """One per lease that has processes there, and one of all that is nobody's."""
    by_key: dict[str, list[ProcessReading]] = {}
    for process in processes:
        key = owners.get(process.pid, "")
        by_key.setdefault(key if key in work.orders else "", []).append(process)
    for key, members in sorted(by_key.items()):
        order = work.orders.get(key)
        yield WorkSample(
            job_id="" if order is None else order.job_id,
            lease_seq=0 if order is None else order.lease_seq,
            rank=0 if order is None else order.rank,
            processes=len(members),
            memory_mib=_sum(member.memory_mib for member in members),
            utilisation_percent=_sum(member.utilisation_percent for member in members),
        )


def _sum(values: Iterable[int | None]) -> int | None:
    """Of what is known; None when nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
