"""How does metering run inside a test?

The whole service over a bus (the twin or a real broker) with the scripted world feeding its streams
and answering audits as agents would. It does not know what tests expect.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from metering.conftest import Ledger
from metering.world import Job, World
from penstock_bus.port import Bus, Message
from penstock_contracts.errors import Refusal
from penstock_contracts.queries import MeteringAudit, MeteringAuditQuery
from penstock_contracts.streams import BUCKETS, OBJECT_BUCKETS, STREAMS
from penstock_contracts.usage import AuditReply
from penstock_metering.service import Metering
from penstock_metering.threads import run_inline
from penstock_runtime.clock import VirtualClock
from penstock_runtime.process import StopSignal

T = TypeVar("T")
READY_S_MAX = 10.0


class Mesh:
    """`running` jobs are cut when their node is asked to close its books; `deaf` nodes do not
    answer."""

    def __init__(self, bus: Bus, world: World, ledger: Ledger, endpoint: str | None = None) -> None:
        self.bus, self.world = bus, world
        self.clock = VirtualClock(world.now_ms * 1_000_000)
        self.metering = Metering(
            bus,
            ledger.database,
            clock=self.clock,
            new_id=lambda: uuid.uuid4().hex,
            write=run_inline,
            read=run_inline,
            otlp_endpoint=endpoint,
        )
        self.running: list[Job] = []
        self.deaf: set[str] = set()
        self._fed = dict.fromkeys(world.streams, 0)
        self._tasks: set[asyncio.Task[None]] = set()

    def restarted(self, ledger: Ledger, endpoint: str) -> Mesh:
        """Another metering over the same bus and database; what was published stays."""
        successor = Mesh(self.bus, self.world, ledger, endpoint)
        successor._fed = self._fed
        return successor

    async def feed(self) -> None:
        """Publish what the world has written since."""
        for name, messages in self.world.streams.items():
            while self._fed[name] < len(messages):
                message = messages[self._fed[name]]
                self._fed[name] += 1
                await self.bus.append(message.subject, message.payload)

    async def listen(self) -> None:
        for node in self.world.agents:
            await self.bus.subscribe(f"penstock.v1.node.{node}.audit", self._hear)

    def _hear(self, message: Message) -> None:
        node = message.subject.split(".")[3]
        if node not in self.deaf:
            task = asyncio.ensure_future(self._close_books(node, message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _close_books(self, node: str, message: Message) -> None:
        for job in self.running:
            if job.placement[0].node == node:
                self.world.cut(job)
        agent = self.world.agents[node]
        seq = agent.send()
        await self.feed()
        reply = AuditReply(node, agent.boot_id, seq)
        await self.bus.respond(message, msgspec.json.encode(reply))

    async def ask(self, what: str, question: Any, answer: type[T]) -> T | Refusal:
        return await self._ask_on(f"penstock.v1.query.metering.{what}", question, answer)

    async def order(self, what: str, command: Any, answer: type[T]) -> T | Refusal:
        return await self._ask_on(f"penstock.v1.command.metering.{what}", command, answer)

    async def _ask_on(self, subject: str, question: Any, answer: type[T]) -> T | Refusal:
        payload = question if isinstance(question, bytes) else msgspec.json.encode(question)
        message = await self.bus.request(subject, payload, timeout_s=20)
        said = msgspec.json.decode(message.payload)
        if "refusal" in said:
            return msgspec.convert(said["refusal"], Refusal)
        return msgspec.convert(said["value"], answer)

    async def audit(self) -> MeteringAudit:
        seqs = (len(self.world.streams[name]) for name in ("JOBS", "NODES"))
        said = await self.ask("audit", MeteringAuditQuery(*seqs), MeteringAudit)
        assert isinstance(said, MeteringAudit), said
        return said


async def prepare(bus: Bus) -> None:
    await bus.ensure_streams(STREAMS)
    await bus.ensure_buckets(BUCKETS)
    await bus.ensure_buckets(OBJECT_BUCKETS, objects=True)


@asynccontextmanager
async def running(mesh: Mesh) -> AsyncIterator[Mesh]:
    """Metering lives while the block runs."""
    await mesh.feed()
    stop = StopSignal()
    task = asyncio.ensure_future(mesh.metering.run(stop))
    await mesh.listen()
    try:
        async with asyncio.timeout(READY_S_MAX):
            while mesh.metering.why_not_ready():
                await asyncio.wait({task}, timeout=0.002)
        yield mesh
    finally:
        stop.request("the test is over")
        await asyncio.gather(task, return_exceptions=True)
