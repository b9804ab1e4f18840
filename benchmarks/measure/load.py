"""How does a benchmark put jobs through a mesh and see them end?

Plain nats-py on the documented subjects, one connection; requests carry many jobs and at most a
window of jobs is unfinished at a time. It does not know what is being measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import nats
import nats.errors

ROOT = "penstock.v1"
TENANT = "bench"
ENDS = ("succeeded", "failed", "cancelled", "timed_out", "rejected")
JOBS_PER_REQUEST = 100
STALL_S = 60.0
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

Job = dict[str, Any]


def ulid() -> str:
    number = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


class Load:
    """Submits jobs and notes the instant at which each fact arrives here."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._changed = asyncio.Event()
        self.arrived_ns: dict[str, dict[str, int]] = {}
        self.ended_ns: list[int] = []
        self.bad: list[bytes] = []

    @classmethod
    async def connect(cls, url: str, creds: Path, facts: Sequence[str]) -> Load:
        """Hears `facts` (names of public facts), or just the ends of jobs when none are named."""
        connection = await nats.connect(url, user_credentials=str(creds), pending_size=1 << 24)
        load = cls(connection)
        heard: Callable[[Any], Awaitable[None]] = load._on_fact if facts else load._on_end
        for name in facts or ENDS:
            subject = f"{ROOT}.job.{TENANT}.*.{name}"
            await connection.subscribe(subject, cb=heard, pending_msgs_limit=1 << 20)
        for _ in range(2):
            await connection.flush()
        return load

    async def close(self) -> None:
        await self._connection.close()

    async def _on_fact(self, message: Any) -> None:
        tokens = message.subject.split(".")
        self.arrived_ns.setdefault(tokens[-2], {})[tokens[-1]] = time.time_ns()
        self._changed.set()
        if tokens[-1] in ENDS:
            await self._on_end(message)

    async def _on_end(self, message: Any) -> None:
        self.ended_ns.append(time.perf_counter_ns())
        if not message.subject.endswith(".succeeded"):
            self.bad.append(message.data)
        self._changed.set()

    async def publish(self, body: object) -> None:
        """One request, without waiting for its acknowledgement."""
        payload = json.dumps(body).encode()
        await self._connection.publish(f"{ROOT}.request.job.{TENANT}.submit", payload)

    async def submit(self, jobs: Sequence[Job]) -> None:
        """One acknowledged request."""
        payload = json.dumps({"jobs": jobs}).encode()
        subject = f"{ROOT}.request.job.{TENANT}.submit"
        reply = await self._connection.request(subject, payload, timeout=10)
        if not json.loads(reply.data).get("seq"):
            raise RuntimeError(f"refused: {reply.data!r}")

    async def ask(self, subject: str, body: object, timeout_s: float) -> dict[str, Any] | None:
        """The answer to a request, None when there is none in time."""
        try:
            reply = await self._connection.request(
                subject, json.dumps(body).encode(), timeout=timeout_s
            )
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
            return None
        answer: dict[str, Any] = json.loads(reply.data)
        return answer

    async def until_ended(self, count: int) -> None:
        """Waits until so many jobs have ended since the start; raises when none ends any more."""
        while len(self.ended_ns) < count:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), STALL_S)
            except TimeoutError:
                raise RuntimeError(f"stalled at {len(self.ended_ns)} of {count}") from None
        if self.bad:
            raise RuntimeError(f"{len(self.bad)} jobs ended badly: {self.bad[0]!r}")

    async def until_heard(self, fact: str, job_ids: Sequence[str]) -> None:
        """Waits until that fact of each of these jobs has arrived."""
        while not all(fact in self.arrived_ns.get(job_id, {}) for job_id in job_ids):
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), STALL_S)

    async def run(self, count: int, window: int, command: Sequence[str]) -> list[int]:
        """Puts `count` one-GPU jobs through, at most `window` unfinished; the instants of their
        ends after the first submission, in ns."""
        done, began_ns = len(self.ended_ns), time.perf_counter_ns()
        for first in range(0, count, JOBS_PER_REQUEST):
            await self.until_ended(done + max(0, first + JOBS_PER_REQUEST - window))
            size = min(JOBS_PER_REQUEST, count - first)
            jobs = [{"job_id": ulid(), "command": list(command), "gpus": 1} for _ in range(size)]
            await self.submit(jobs)
        await self.until_ended(done + count)
        return [at_ns - began_ns for at_ns in self.ended_ns[done : done + count]]
