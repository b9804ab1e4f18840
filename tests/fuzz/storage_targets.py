"""What does damaged storage do to whoever reads it?

Locks, cursors, snapshots, journal entries, headers and questions to the ledger, changed in every
way. Each reader says that it cannot read it, by the errors it declares, and never something that
was not written. It does not know who damaged them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from fuzz.link_targets import check_answer
from fuzz.metering_targets import IntoLedger
from fuzz.mutation import Given
from fuzz.runner import Violation
from fuzz.scheduler_world import restored, world
from metering.world import START_MS
from penstock_bus import memory, wire
from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.port import Message, StoredMessage
from penstock_contracts.ids import ROOT
from penstock_contracts.journal import JobFact
from penstock_contracts.queries import JobQuery, JobsQuery, UsageQuery
from penstock_metering.answers import Answers
from penstock_metering.audit import Auditor
from penstock_metering.commands import Commands
from penstock_metering.deriving import Deriver
from penstock_metering.exports.pages import Exports
from penstock_metering.money_commands import COMMANDS
from penstock_metering.progress import Progress
from penstock_metering.reading import Library
from penstock_metering.threads import run_inline
from penstock_runtime.clock import VirtualClock
from penstock_runtime.cursors import read_cursors
from penstock_runtime.entries import encode_entry, entry_decoder
from penstock_runtime.leadership import Holder, _read_holder, is_gone
from penstock_runtime.snapshots import SnapshotStore

encode = msgspec.json.encode
US = Holder(writer="w", host="h", pid=1, pid_start=5)


class SmallState:
    """A subject names what it is: `LOCKS`, `CURSORS`, `SNAPSHOTS`, `JOBS` or `headers`."""

    name = "storage"
    messages = ("jobs_journal", "nodes_journal")
    pure = True

    def __init__(self) -> None:
        self.words: Sequence[str | int] = (*world().words, "w", "h", 5)
        self._loop = asyncio.new_event_loop()
        self._decode = entry_decoder(JobFact)
        self._bus: Any = self._loop.run_until_complete(self._open())
        self._store = SnapshotStore(self._bus, "scheduler")
        facts = [encode(fact) for fact in _facts()]
        entry = {"term": 2, "writer": "w", "entry_id": "e", "now_ns": 7, "cursors": {"NODES": 3}}
        self._entry = encode_entry(facts=facts, **entry)  # type: ignore[arg-type]
        self._snapshot = self._loop.run_until_complete(self._written())

    async def _open(self) -> Any:
        bus = await memory.connect(MemoryBroker(time.time_ns), name="x")
        await bus.ensure_buckets(["LOCKS", "CURSORS"])
        await bus.ensure_buckets(["SNAPSHOTS"], objects=True)
        return bus

    async def _written(self) -> bytes:
        self._data = restored().snapshot()
        await self._store.write(
            self._data, seq=5, term=1, now_ns=7, cursors={"NODES": 3}, marks={}, before_seq=0
        )
        found = await self._bus.object_get("SNAPSHOTS", f"scheduler.{5:020d}")
        if found is None:
            raise RuntimeError("the snapshot is not stored")
        return bytes(found)

    def close(self) -> None:
        self._loop.run_until_complete(self._bus.close())
        self._loop.close()

    def reset(self) -> None:
        """What is read was written for that."""

    def digest(self) -> object:
        return None

    def valid(self) -> Sequence[Given]:
        headers = wire.encode_headers({"Nats-Msg-Id": "a", "Penstock-Offset": "5"})
        return [
            Given("LOCKS", encode(US)),
            Given("CURSORS", b'{"seq":5}'),
            Given("JOBS", self._entry),
            Given("headers", headers),
            Given("headers", b"NATS/1.0 503\r\n\r\n"),
            Given("SNAPSHOTS", self._snapshot),
        ]

    def give(self, given: Given) -> bool:
        payload = given.payload
        if given.subject == "LOCKS":
            holder = _read_holder(payload)
            return holder is not None and is_gone(holder, US) in (True, False)
        if given.subject == "JOBS":
            return self._decode(StoredMessage("x", payload, 1, 1)) is not None
        if given.subject == "headers":
            wire.decode_status(payload)
            return bool(wire.decode_headers(payload))
        if given.subject == "CURSORS":
            return self._loop.run_until_complete(self._cursor(payload))
        if given.subject == "SNAPSHOTS":
            return self._loop.run_until_complete(self._restored(payload))
        return False

    async def _cursor(self, payload: bytes) -> bool:
        await self._bus.kv_put("CURSORS", "JOBS.metering", payload)
        return bool(await read_cursors(self._bus))

    async def _restored(self, payload: bytes) -> bool:
        await self._bus.object_put("SNAPSHOTS", f"scheduler.{5:020d}", payload)
        found = [data async for _, data in self._store.newest_first()]
        if found and found != [self._data]:
            raise Violation("a damaged snapshot is taken for a whole one")
        return bool(found)


def _facts() -> list[Any]:
    from contracts.samples import samples

    return [value for name, (_, value) in samples().items() if name.startswith("jobs-")]


class LedgerQuestions:
    """Questions to metering, answered from a ledger with some history."""

    name = "metering queries"
    messages = tuple(f"query_metering_{what}" for what in ("job", "jobs", "usage", "audit"))
    pure = True

    def __init__(self) -> None:
        self._ledger = IntoLedger()
        self._ledger.reset()
        self.words = self._ledger.words
        self._loop = asyncio.new_event_loop()
        self._bus: Any = self._loop.run_until_complete(self._open())

    async def _open(self) -> Any:
        broker = MemoryBroker(time.time_ns)
        service = await memory.connect(broker, name="metering")
        library = Library(self._ledger.ledger.database)
        progress = Progress()
        progress.advance({"JOBS": 1 << 62, "NODES": 1 << 62, "USAGE": 1 << 62})
        clock = VirtualClock(START_MS * 1_000_000)
        deriver = Deriver(run_inline, clock)
        auditor = Auditor(service, library, progress, run_inline, clock, deriver)
        database = self._ledger.ledger.database
        self.commands = Commands(run_inline, clock, COMMANDS)
        self._answers = Answers(
            service, library, auditor, run_inline, progress, self.commands,
            Exports(database, run_inline), clock, deriver,
        )  # fmt: skip
        await self._answers.open(lambda: False)
        return await memory.connect(broker, name="asker")

    def close(self) -> None:
        self._loop.run_until_complete(self._answers.close())
        self._loop.run_until_complete(self._bus.close())
        self._loop.close()
        self._ledger.close()

    def reset(self) -> None:
        """Asking changes nothing."""

    def digest(self) -> object:
        return None

    def valid(self) -> Sequence[Given]:
        job_id = str(self.words[-1])
        asked = {
            "job": JobQuery(job_id),
            "jobs": JobsQuery("acme", "succeeded", 10, job_id),
            "usage": UsageQuery("acme", 5, 1_800_000_000_000),
        }
        return [
            Given(f"{ROOT}.query.metering.{what}", encode(query)) for what, query in asked.items()
        ]

    def give(self, given: Given) -> bool:
        name = given.subject.removeprefix(f"{ROOT}.").replace(".", "_")
        if name not in self.messages:
            return False
        answer: Message = self._loop.run_until_complete(
            self._bus.request(given.subject, given.payload, timeout_s=30.0)
        )
        return check_answer(name, answer.payload)
