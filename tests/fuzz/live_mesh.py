"""Which mesh do the services form when all of them run in one process?

The real shells of scheduler, inventory and metering over the in-memory bus, one node that has
described itself, and some jobs that hold leases on it. It does not know what they are given.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from inventory.builders import a_description
from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.port import Bus
from penstock_contracts.explanations import Explanation
from penstock_contracts.ids import ROOT, ulid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.nodes import Device
from penstock_contracts.queries import Answer
from penstock_contracts.streams import BUCKETS, OBJECT_BUCKETS, STREAMS
from penstock_inventory.service import Inventory
from penstock_metering.ledger.database import Database
from penstock_metering.service import Metering
from penstock_metering.threads import run_inline
from penstock_runtime.clock import SystemClock
from penstock_runtime.process import StopSignal
from penstock_scheduler.service import Scheduler

encode = msgspec.json.encode
JOBS = 6
PATIENCE_MS = 10**9
_numbers = itertools.count(1)


def a_new_job(**fields: Any) -> JobSpec:
    job_id = ulid(time.time_ns() // 1_000_000, next(_numbers))
    return JobSpec(job_id=job_id, command=("true",), **fields)


class LiveMesh:
    def __init__(self, broker: MemoryBroker, buses: list[Any], directory: Path) -> None:
        self.broker = broker
        self.outside: Any = buses[0]
        clock = SystemClock()
        self.scheduler = Scheduler(buses[1], clock=clock)
        self.inventory = Inventory(
            buses[2], clock=clock, lost_after_ms=10**9, suspect_after_ms=10**9
        )
        database = Database(f"sqlite:///{directory / 'ledger.sqlite'}")
        self.metering = Metering(
            buses[3],
            database,
            clock=clock,
            new_id=lambda: uuid.uuid4().hex,
            write=run_inline,
            read=run_inline,
        )
        self.stop = StopSignal()
        self.lives: dict[str, asyncio.Future[Any]] = {}

    def start(self) -> None:
        services = {
            "scheduler": self.scheduler, "inventory": self.inventory, "metering": self.metering
        }  # fmt: skip
        for name, service in services.items():
            self.lives[name] = asyncio.ensure_future(service.run(self.stop))

    def check_alive(self) -> None:
        """Raises what ended a service."""
        for name, life in self.lives.items():
            if life.done():
                raise AssertionError(f"{name} has ended with {life.result()}")

    @property
    def active(self) -> bool:
        self.check_alive()
        return (
            self.scheduler.service.phase == "active"
            and self.inventory.service.phase == "active"
            and self.metering.why_not_ready() is None
        )

    def read_up(self) -> bool:
        """Whether everything that is stored has been taken in."""
        self.check_alive()
        ingest = self.metering.ingest
        ends = {name: stream.last_seq for name, stream in self.broker.streams.items()}
        scheduler, inventory = self.scheduler.service.cursors, self.inventory.service.cursors
        return (
            ingest is not None
            and all(scheduler.get(name) == ends[name] for name in ("REQUESTS", "REPORTS", "NODES"))
            and inventory.get("DESCRIPTIONS") == ends["DESCRIPTIONS"]
            and all(ingest.cursors[name] == ends[name] for name in ("JOBS", "NODES", "USAGE"))
        )

    async def submit(self, spec: JobSpec) -> None:
        await self.outside.append(f"{ROOT}.request.job.acme.submit", encode(spec))

    async def explanation(self, spec: JobSpec) -> Explanation | None:
        message = await self.outside.request(
            f"{ROOT}.query.scheduler.explain", encode({"job_id": spec.job_id}), timeout_s=5.0
        )
        return msgspec.json.decode(message.payload, type=Answer[Explanation]).value


Eventually = Callable[..., Awaitable[Any]]


@asynccontextmanager
async def live_mesh(directory: Path, eventually: Eventually) -> AsyncIterator[LiveMesh]:
    """A mesh whose jobs are placed; ended afterwards, and every service must have lived."""
    broker = MemoryBroker(time.time_ns)
    names = ("outside", "scheduler", "inventory", "metering")
    buses: list[Bus] = [await memory.connect(broker, name=name) for name in names]
    await buses[0].ensure_streams(STREAMS)
    await buses[0].ensure_buckets(BUCKETS)
    await buses[0].ensure_buckets(OBJECT_BUCKETS, objects=True)
    mesh = LiveMesh(broker, buses, directory)
    await mesh.outside.subscribe(
        f"{ROOT}.node.n1.desired", lambda message: mesh.outside.respond_nowait(message, _ACK)
    )
    mesh.start()
    await eventually(lambda: mesh.active)
    devices = tuple(Device(uuid=f"GPU-{index}", index=index, model="H100") for index in range(4))
    described = a_description("n1", devices=devices)
    await mesh.outside.append(f"{ROOT}.node.n1.description", encode(described))
    for _ in range(JOBS):
        await mesh.submit(a_new_job(gpus=1, retries=2))
    await eventually(lambda: len(mesh.scheduler.state().leases) == len(devices))
    try:
        yield mesh
        mesh.check_alive()
    finally:
        mesh.stop.request("the test is over")
        await asyncio.gather(*mesh.lives.values(), return_exceptions=True)
        for bus in buses:
            await bus.close()


_ACK = encode({"as_of": 0, "ok": True})
