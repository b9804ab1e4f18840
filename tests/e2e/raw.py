"""What can a program do to the mesh that holds a credential and plain nats-py, nothing of Penstock?

Submits requests, follows facts and reads up on stored ones, by the documented subjects only. It
knows the wire, not the product's code.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nats
import nats.errors

ROOT = "penstock.v1"
TERMINAL = ("succeeded", "failed", "cancelled", "timed_out", "rejected")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ulid(at_s: float | None = None) -> str:
    """A fresh ULID of now, or of a Unix time."""
    number = int((time.time() if at_s is None else at_s) * 1000) << 80
    number |= int.from_bytes(os.urandom(10), "big")
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def a_job(*command: str, **fields: Any) -> dict[str, Any]:
    return {"job_id": ulid(), "command": list(command or ("/bin/true",)), **fields}


class RawClient:
    """One connection with one credential. `errors` collects what the broker refused."""

    def __init__(self, connection: Any, errors: list[str]) -> None:
        self.connection = connection
        self.errors = errors
        self.facts: dict[str, list[dict[str, Any]]] = {}
        self._arrived = asyncio.Event()

    @classmethod
    async def connect(cls, url: str, creds: Path, tls: ssl.SSLContext | None = None) -> RawClient:
        errors: list[str] = []

        async def on_error(error: Exception) -> None:
            errors.append(str(error))

        connection = await nats.connect(
            url, user_credentials=str(creds), error_cb=on_error, max_reconnect_attempts=-1,
            reconnect_time_wait=0.1, tls=tls,
        )  # fmt: skip
        return cls(connection, errors)

    async def close(self) -> None:
        await self.connection.close()

    async def __aenter__(self) -> RawClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- requests ------------------------------------------------------------------------------

    async def request_raw(
        self, subject: str, payload: bytes, timeout_s: float = 5.0
    ) -> dict[str, Any]:
        """The broker's or a service's answer, decoded."""
        reply = await self.connection.request(subject, payload, timeout=timeout_s)
        answer: dict[str, Any] = json.loads(reply.data)
        return answer

    async def submit(self, tenant: str, *jobs: dict[str, Any]) -> int:
        """Stores one request for one or many jobs; its sequence."""
        body = jobs[0] if len(jobs) == 1 else {"jobs": list(jobs)}
        return await self.send(f"{ROOT}.request.job.{tenant}.submit", body)

    async def send(self, subject: str, body: object, within_s: float = 30.0) -> int:
        """Stores a request, repeating it with the same ids until acknowledged; its sequence."""
        payload = json.dumps(body).encode()
        deadline = time.monotonic() + within_s
        while True:
            try:
                answer = await self.request_raw(subject, payload, timeout_s=2.0)
                if "seq" in answer:
                    return int(answer["seq"])
                problem = str(answer)
            except (TimeoutError, nats.errors.Error, OSError) as error:
                problem = repr(error)
            if time.monotonic() > deadline:
                raise AssertionError(f"the request was not acknowledged: {problem}")
            await asyncio.sleep(0.02)

    async def query(self, service: str, what: str, **ask: Any) -> Any:
        answer = await self.request_raw(f"{ROOT}.query.{service}.{what}", json.dumps(ask).encode())
        if "value" not in answer:
            raise AssertionError(f"query.{service}.{what}: {answer}")
        return answer["value"]

    # -- live facts ----------------------------------------------------------------------------

    async def follow(self, tenant: str) -> None:
        """Collects every fact of the tenant's jobs from now on."""

        async def on_fact(message: Any) -> None:
            event = json.loads(message.data)
            self.facts.setdefault(event["job_id"], []).append(event)
            self._arrived.set()

        await self.connection.subscribe(f"{ROOT}.job.{tenant}.*.*", cb=on_fact)
        for _ in range(2):
            await self.connection.flush()

    async def until_fact(self, job_id: str, *names: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """The first such fact of a followed job."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._arrived.clear()
            for event in self.facts.get(job_id, ()):
                if event["fact"] in names:
                    return event
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                seen = [event["fact"] for event in self.facts.get(job_id, ())]
                raise AssertionError(f"{job_id}: none of {names} in {timeout_s} s; saw {seen}")
            try:
                await asyncio.wait_for(self._arrived.wait(), left_s)
            except TimeoutError:
                continue

    async def until_ended(self, job_id: str, timeout_s: float = 20.0) -> dict[str, Any]:
        return await self.until_fact(job_id, *TERMINAL, timeout_s=timeout_s)

    # -- the past ------------------------------------------------------------------------------

    async def stored_after(self, stream: str, seq: int, subject: str) -> tuple[int, bytes] | None:
        """The first stored message with a sequence above `seq` under `subject`, by direct get."""
        ask = json.dumps({"seq": seq + 1, "next_by_subj": subject}).encode()
        reply = await self._get(f"$JS.API.DIRECT.GET.{stream}", ask)
        headers = reply.headers or {}
        if headers.get("Status", "").startswith("404"):
            return None
        return int(headers["Nats-Sequence"]), bytes(reply.data)

    async def _get(self, subject: str, ask: bytes, within_s: float = 20.0) -> Any:
        """Asks again while the broker is away: reading changes nothing."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                return await self.connection.request(subject, ask, timeout=2)
            except (nats.errors.Error, OSError):
                if time.monotonic() > deadline:
                    raise

    async def stored_facts(self, tenant: str, job_id: str = "*") -> list[dict[str, Any]]:
        """All stored facts of a tenant, or of one job, in order."""
        subject, seq, found = f"{ROOT}.job.{tenant}.{job_id}.*", 0, []
        while (message := await self.stored_after("FACTS", seq, subject)) is not None:
            seq = message[0]
            found.append(json.loads(message[1]))
        return found

    async def stored_log(self, tenant: str, job_id: str, stream: str, rank: int = 0) -> bytes:
        subject, seq, found = f"{ROOT}.log.{tenant}.{job_id}.*.{rank}.{stream}", 0, b""
        while (message := await self.stored_after("LOGS", seq, subject)) is not None:
            seq = message[0]
            found += message[1]
        return found

    async def refusal(self, tenant: str, request_seq: int, timeout_s: float = 10.0) -> Any:
        """What the scheduler answered to a refused request."""
        deadline = time.monotonic() + timeout_s
        subject = f"{ROOT}.refusal.{tenant}.{request_seq}"
        while (message := await self.stored_after("FACTS", 0, subject)) is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"request {request_seq} of {tenant!r} was not refused")
            await asyncio.sleep(0.02)
        return json.loads(message[1])


def endings(facts: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The distinct terminal facts of each job (a repeat has the same journal place)."""
    found: dict[str, dict[tuple[int, int], dict[str, Any]]] = {}
    for event in facts:
        if event["fact"] in TERMINAL:
            found.setdefault(event["job_id"], {})[event["seq"], event["index"]] = event
    return {job_id: list(events.values()) for job_id, events in found.items()}
