"""A scheduler's real service beside nodes that agree to everything.

The nodes are entries of NODES and one subscription; jobs arrive one a message. What was granted is
read from the journal. It does not know what is expected.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from penstock_bus.port import Bus, Message, StoredMessage
from penstock_contracts.expectations import WorkloadExpected
from penstock_contracts.ids import ROOT, ulid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import JobFact, JobSubmitted, LeaseGranted
from penstock_contracts.leases import DesiredAck, NodeDesired
from penstock_contracts.nodes import Device, NodeDescription, NodeFact, NodeRegistered
from penstock_contracts.streams import BUCKETS, OBJECT_BUCKETS, STREAMS
from penstock_runtime.clock import SystemClock
from penstock_runtime.process import StopSignal
from penstock_scheduler.core.packing.packer import Choice
from penstock_scheduler.core.packing.shapes import PackShape
from penstock_scheduler.service import Scheduler
from penstock_scheduler.simulate.traces import Nodes

NODES_PER_ENTRY = 100
TENANT = "acme"
_encode = msgspec.json.encode
_desired = msgspec.json.Decoder(NodeDesired)


class _Entry(msgspec.Struct):
    facts: list[JobFact]


class _Nodes(msgspec.Struct):
    facts: list[NodeFact]


_entry = msgspec.json.Decoder(_Entry)


class LiveScheduler:
    """`granted`: by job id, where it was placed; `submitted`: ids as the journal has them."""

    def __init__(self, bus: Bus) -> None:
        self.bus: Any = bus
        self.granted: dict[str, Choice] = {}
        self.submitted: list[str] = []
        self.expected: list[WorkloadExpected] = []

    async def join(self, nodes: Nodes) -> None:
        """All nodes of a list describe themselves at once."""
        await self.bus.subscribe(f"{ROOT}.node.*.desired", self._agree)
        facts = [NodeRegistered(described(name, nodes)) for name in nodes.rooms]
        for first in range(0, len(facts), NODES_PER_ENTRY):
            entry = _encode(_Nodes(list(facts[first : first + NODES_PER_ENTRY])))
            await self.bus.append(f"{ROOT}.journal.nodes", entry)

    def _agree(self, message: Message) -> None:
        as_of = _desired.decode(message.payload).as_of
        self.bus.respond_nowait(message, _encode(DesiredAck(as_of)))

    async def submit(self, number: int, shape: PackShape) -> str:
        """One job in one message; its id."""
        spec = a_spec(number, shape)
        await self.bus.append(f"{ROOT}.request.job.{TENANT}.submit", _encode(spec))
        return spec.job_id

    async def follow(self) -> None:
        """Reads the journal until cancelled."""
        reader = await self.bus.reader("JOBS", after_seq=0)
        while True:
            for message in await reader.next_batch():
                self._read(message)

    def _read(self, message: StoredMessage) -> None:
        for fact in _entry.decode(message.payload).facts:
            if isinstance(fact, LeaseGranted):
                (rank,) = fact.ranks
                devices = tuple(int(uuid.rpartition("/")[2]) for uuid in rank.devices)
                self.granted[fact.job_id] = Choice(rank.node, devices)
            elif isinstance(fact, JobSubmitted):
                self.submitted.append(fact.spec.job_id)
            elif isinstance(fact, WorkloadExpected):
                self.expected.append(fact)


def described(name: str, nodes: Nodes) -> NodeDescription:
    room = nodes.rooms[name]
    devices = tuple(
        Device(uuid=f"{name}/{index}", index=index, model=kind[0], memory_mib=kind[1])
        for index, kind in enumerate(room.devices)
        if kind is not None
    )
    return NodeDescription(
        node=name, boot_id="boot-1", joined_ms=1, cpu_milli=room.cpu_milli,
        memory_mib=room.memory_mib, devices=devices,
    )  # fmt: skip


def a_spec(number: int, shape: PackShape) -> JobSpec:
    now_ms = SystemClock().now_ns() // 1_000_000
    return JobSpec(
        job_id=ulid(now_ms, number),
        command=("true",),
        gpus=shape.gpus,
        gpu_milli=shape.gpu_milli or 1000,
        gpu_memory_mib=shape.gpu_memory_mib,
        gpu_models=shape.models,
        cpu_milli=shape.cpu_milli,
        memory_mib=shape.memory_mib,
    )


@asynccontextmanager
async def live_scheduler(
    buses: Sequence[Bus], nodes: Nodes, eventually: Callable[..., Awaitable[Any]], **options: Any
) -> AsyncIterator[LiveScheduler]:
    """Active, with all nodes of the list able to take work and prices made for them."""
    outside, inside = buses
    await outside.ensure_streams(STREAMS)
    await outside.ensure_buckets(BUCKETS)
    await outside.ensure_buckets(OBJECT_BUCKETS, objects=True)
    live, stop = LiveScheduler(outside), StopSignal()
    scheduler = Scheduler(inside, clock=SystemClock(), tick_s=0.02, **options)
    life = asyncio.ensure_future(scheduler.run(stop))
    following = asyncio.ensure_future(live.follow())
    try:
        await eventually(lambda: scheduler.service.phase == "active")
        await live.join(nodes)
        await eventually(
            lambda: (
                sum(node.schedulable for node in scheduler.state().nodes.values())
                == len(nodes.rooms)
            )
        )
        await eventually(lambda: live.expected and live.expected[-1].devices == nodes.models)
        yield live
        assert not life.done(), life
    finally:
        stop.request("the test is over")
        await life
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
