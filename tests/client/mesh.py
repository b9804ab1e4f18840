"""How does a test play the mesh to a client?

A scripted stand-in for all services over any bus: it takes requests from the stream, lets a script
say what becomes of each job, publishes facts and output as the real ones do, and answers questions
from what it was told. It does not decide anything by itself.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from penstock_bus.port import Bus, Message, Outage, Reader
from penstock_contracts.errors import Refusal
from penstock_contracts.ids import ROOT
from penstock_contracts.jobs import CancelJob, JobSpec, SubmitJobs
from penstock_contracts.journal import RefusedItem
from penstock_contracts.public import JobEvent, RequestRefusal
from penstock_contracts.queries import Answer
from penstock_contracts.streams import STREAMS

encode = msgspec.json.encode
NOW_MS = 1_800_000_000_000
RETRY_S = 0.05
RETRIES_MAX = 200


class FakeJob:
    """One accepted job, to be told by a script. `cancelled` is set by a cancel request."""

    def __init__(self, mesh: FakeMesh, tenant: str, spec: JobSpec) -> None:
        self.mesh = mesh
        self.tenant = tenant
        self.spec = spec
        self.cancelled = asyncio.Event()
        self.log_bytes: dict[str, int] = {}

    async def fact(self, *names: str, **fields: Any) -> JobEvent:
        for name in names:
            event = self.event(name, **fields)
            await self.mesh.store(self.subject(name), encode(event))
        return event

    def event(self, name: str, **fields: Any) -> JobEvent:
        values = {
            "seq": next(self.mesh.seqs),
            "index": 0,
            "job_id": self.spec.job_id,
            "tenant": self.tenant,
            "fact": name,
            "attempt": 1,
            "at_ms": NOW_MS,
        }
        return JobEvent(**{**values, **fields})

    def subject(self, fact: str) -> str:
        return f"{ROOT}.job.{self.tenant}.{self.spec.job_id}.{fact}"

    def log_subject(self, stream: str = "stdout", rank: int = 0, attempt: int = 1) -> str:
        return f"{ROOT}.log.{self.tenant}.{self.spec.job_id}.{attempt}.{rank}.{stream}"

    async def log(
        self, data: bytes, stream: str = "stdout", *, rank: int = 0, at: int | None = None
    ) -> None:
        """Stores a chunk, at the end of that output unless `at` says where."""
        key = f"1.{rank}.{stream}"
        offset = self.log_bytes.get(key, 0) if at is None else at
        self.log_bytes[key] = max(self.log_bytes.get(key, 0), offset + len(data))
        headers = {"Penstock-Offset": str(offset)}
        await self.mesh.store(self.log_subject(stream, rank), data, headers)

    async def drop(self, count: int, *, at: int | None = None) -> None:
        """Says that so many bytes were dropped, at the end of stdout unless `at` says where."""
        offset = self.log_bytes.get("1.0.stdout", 0) if at is None else at
        self.log_bytes["1.0.stdout"] = max(self.log_bytes.get("1.0.stdout", 0), offset + count)
        headers = {"Penstock-Offset": str(offset), "Penstock-Dropped": str(count)}
        await self.mesh.store(self.log_subject(), b"", headers)

    async def finish(self, state: str = "succeeded", **fields: Any) -> None:
        if state in ("succeeded", "failed"):
            fields.setdefault("exit_code", 0 if state == "succeeded" else 1)
        fields.setdefault("log_bytes", self.log_bytes)
        await self.fact(state, **fields)


Script = Callable[[FakeJob], Awaitable[None]]


async def run_to_success(job: FakeJob) -> None:
    await job.fact("submitted", "queued", "placed", "running")
    await job.finish()


class FakeMesh:
    """Runs `script` for each accepted job. `answers[subject]` is what a query is answered."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.script: Script = run_to_success
        self.refuse: Callable[[JobSpec], Refusal | None] = lambda spec: None
        self.refuse_cancel: Callable[[CancelJob], Refusal | None] = lambda cancel: None
        self.jobs: dict[str, FakeJob] = {}
        self.asked: list[tuple[str, bytes]] = []
        self.seqs = itertools.count(1)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> FakeMesh:
        await self.bus.ensure_streams(STREAMS)
        reader = await self.bus.reader("REQUESTS", after_seq=0)
        self._tasks.append(asyncio.ensure_future(self._take(reader)))
        return self

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for error in results:
            if isinstance(error, Exception):
                raise error

    async def answer(self, subject: str, value: Any) -> None:
        """Answers that question with a value, a Refusal, or what a function of the payload says."""

        def on_message(message: Message) -> None:
            self.asked.append((subject, message.payload))
            said = value(message.payload) if callable(value) else value
            refused = isinstance(said, Refusal)
            answer: Answer[Any] = Answer(refusal=said) if refused else Answer(value=said)
            self.bus.respond_nowait(message, encode(answer))

        await self.bus.subscribe(f"{ROOT}.{subject}", on_message)

    async def store(
        self, subject: str, payload: bytes, headers: dict[str, str] | None = None
    ) -> None:
        """Appends, again and again while the broker is away, as the real services do."""
        for _ in range(RETRIES_MAX):
            try:
                await self.bus.append(subject, payload, headers=headers, timeout_s=1.0)
                return
            except Outage:
                await asyncio.sleep(RETRY_S)
        raise RuntimeError(f"the broker does not take {subject}")

    async def _take(self, reader: Reader) -> None:
        while True:
            for message in await reader.next_batch():
                tenant, verb = message.subject.split(".")[-2:]
                if verb == "submit":
                    await self._submit(tenant, message.seq, message.payload)
                else:
                    await self._cancel(tenant, message.seq, message.payload)

    async def _submit(self, tenant: str, seq: int, payload: bytes) -> None:
        many = "jobs" in msgspec.json.decode(payload)
        raws = msgspec.json.decode(payload, type=SubmitJobs).jobs if many else [payload]
        refused = []
        for index, raw in enumerate(raws):
            spec = msgspec.json.decode(raw, type=JobSpec)
            if refusal := self.refuse(spec):
                refused.append(RefusedItem(index, refusal, spec.job_id))
            elif spec.job_id not in self.jobs:
                job = self.jobs[spec.job_id] = FakeJob(self, tenant, spec)
                self._tasks.append(asyncio.ensure_future(self._run(job)))
        await self._refuse(tenant, seq, refused)

    async def _run(self, job: FakeJob) -> None:
        await self.script(job)

    async def _cancel(self, tenant: str, seq: int, payload: bytes) -> None:
        cancel = msgspec.json.decode(payload, type=CancelJob)
        if refusal := self.refuse_cancel(cancel):
            await self._refuse(tenant, seq, [RefusedItem(0, refusal, cancel.job_id)])
        elif cancel.job_id in self.jobs:
            self.jobs[cancel.job_id].cancelled.set()

    async def _refuse(self, tenant: str, seq: int, refused: list[RefusedItem]) -> None:
        if refused:
            refusal = RequestRefusal(
                seq=next(self.seqs), index=0, tenant=tenant, request_seq=seq, refused=tuple(refused)
            )
            await self.store(f"{ROOT}.refusal.{tenant}.{seq}", encode(refusal))
