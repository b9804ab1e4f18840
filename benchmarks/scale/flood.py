"""How do two tenants use a mesh, one far too much, and what became of each of their jobs?

Requests are acknowledged by the broker; each job in an acknowledged request has then either ended
or been refused, and that is what is counted. It does not know what the mesh can run.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import Any

import msgspec
from measure.load import ENDS, ulid

from penstock_bus.nats import NatsBus, connect
from penstock_bus.port import Appended, BusRefusal, Message, Outage
from scale.control_plane import ControlPlane

ROOT = "penstock.v1"
FLOOD, CALM = "flood", "calm"
CALM_PRIORITY = 9
"""There is no fair share between tenants: who wants to pass a flood needs priority."""
JOBS_PER_REQUEST = 20
IN_FLIGHT_MAX = 200
REQUEST_S = 10.0
JOB_WAIT_S = 30.0
POLL_S = 0.02

_encode = msgspec.json.Encoder().encode


class Account:
    """What one tenant asked for and what came of it."""

    def __init__(self) -> None:
        self.submitted = 0
        self.unstored = 0
        self.acknowledged = 0
        self.open: set[str] = set()
        self.ended: set[str] = set()
        self.refused: set[str] = set()
        self.codes: Counter[str] = Counter()
        self.first_refusal_s: float | None = None
        self.start_ms: dict[str, list[float]] = {}
        self.cancel_ms: list[float] = []
        self.cancels_refused = 0


class Tenants:
    """Both tenants on one connection, with the client's credential."""

    def __init__(self, bus: NatsBus) -> None:
        self.of = {FLOOD: Account(), CALM: Account()}
        self.ended: Counter[str] = Counter()
        self.ended_twice = 0
        self._bus = bus
        self._phase = "before"
        self._began = 0.0
        self._waited: dict[str, asyncio.Future[str]] = {}
        self._requests: dict[int, list[str]] = {}
        self._random = random.Random(1)

    @classmethod
    async def connect(cls, plane: ControlPlane) -> Tenants:
        bus = await connect(plane.nats_url, name="benchmark", credentials=str(plane.creds))
        tenants = cls(bus)
        for tenant in (FLOOD, CALM):
            for fact in ENDS:
                await bus.subscribe(f"{ROOT}.job.{tenant}.*.{fact}", tenants._on_end)
            await bus.subscribe(f"{ROOT}.refusal.{tenant}.*", tenants._on_refusal)
        await bus.subscribe(f"{ROOT}.job.{CALM}.*.running", tenants._on_awaited)
        return tenants

    async def close(self) -> None:
        await self._bus.close()

    def begin_phase(self, name: str) -> None:
        self._phase = name
        self._began = time.monotonic()

    @property
    def unfinished(self) -> int:
        """Acknowledged, and neither ended nor refused."""
        return sum(len(account.open) for account in self.of.values())

    async def until_finished(self, within_s: float) -> None:
        """Until each acknowledged job has ended or was refused, or time is over."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if not self.unfinished:
                return
            await asyncio.sleep(POLL_S)

    async def flood(self, jobs_per_s: float, for_s: float, job_s: float) -> None:
        """An even stream of requests; one that the broker does not take is not repeated."""
        began = time.monotonic()
        self._began = began
        flying: set[asyncio.Future[None]] = set()
        sent = 0
        while (passed_s := time.monotonic() - began) < for_s:
            while sent < passed_s * jobs_per_s and len(flying) < IN_FLIGHT_MAX:
                request = asyncio.ensure_future(self._submit(FLOOD, JOBS_PER_REQUEST, job_s))
                flying.add(request)
                request.add_done_callback(flying.discard)
                sent += JOBS_PER_REQUEST
            await asyncio.sleep(POLL_S)
        await asyncio.gather(*flying)

    async def probe(self, job_s: float) -> bool:
        """Whether one more job of the flooding tenant is accepted now."""
        account = self.of[FLOOD]
        (job_id,) = await self._submit(FLOOD, 1, job_s)
        job_query = {"job_id": job_id}
        while job_id in account.open:
            answer = await self._ask("query.scheduler.job", job_query)
            if answer is not None and (answer.get("refusal") or {}).get("code") != "unknown_job":
                return True
            await asyncio.sleep(POLL_S)
        return job_id in account.ended

    async def run_one(self, tenant: str, job_s: float) -> None:
        """One job, and how long after its submission it runs."""
        began, phase = time.monotonic(), self._phase
        job_id = ulid()
        waited = self._waited[job_id] = asyncio.get_running_loop().create_future()
        await self._submit(tenant, 1, job_s, job_id=job_id, priority=CALM_PRIORITY)
        try:
            await asyncio.wait_for(waited, JOB_WAIT_S)
        finally:
            self._waited.pop(job_id, None)
        took_ms = (time.monotonic() - began) * 1e3
        self.of[tenant].start_ms.setdefault(phase, []).append(took_ms)

    async def cancel_one(self) -> None:
        """Cancel some waiting job of the flooding tenant; from the request to its end."""
        account = self.of[FLOOD]
        waiting = list(account.open)
        if not waiting:
            return
        job_id = self._random.choice(waiting)
        ended = self._waited[job_id] = asyncio.get_running_loop().create_future()
        began = time.monotonic()
        try:
            await self._append(f"{ROOT}.request.job.{FLOOD}.cancel", {"job_id": job_id})
            await asyncio.wait_for(ended, JOB_WAIT_S)
            account.cancel_ms.append((time.monotonic() - began) * 1e3)
        except (BusRefusal, Outage, TimeoutError):
            account.cancels_refused += 1
        finally:
            self._waited.pop(job_id, None)

    # -- parts -------------------------------------------------------------------------------------
    async def _submit(
        self, tenant: str, count: int, job_s: float, job_id: str = "", priority: int = 5
    ) -> list[str]:
        account = self.of[tenant]
        ids = [job_id or ulid() for _ in range(count)]
        jobs = [
            {"job_id": i, "command": ["sim", self._spread(job_s)], "gpus": 1, "priority": priority}
            for i in ids
        ]
        account.submitted += count
        try:
            stored = await self._append(f"{ROOT}.request.job.{tenant}.submit", {"jobs": jobs})
        except (BusRefusal, Outage) as error:
            account.unstored += count
            account.codes[f"not stored: {type(error).__name__}"] += count
            return ids
        account.acknowledged += count
        account.open.update(i for i in ids if i not in account.ended and i not in account.refused)
        self._requests[stored.seq] = ids
        return ids

    def _spread(self, job_s: float) -> str:
        """Half to one and a half times as long, so that slots do not become free all at once."""
        return f"{job_s * self._random.uniform(0.5, 1.5):.3f}"

    async def _append(self, subject: str, body: object) -> Appended:
        return await self._bus.append(subject, _encode(body), timeout_s=REQUEST_S)

    async def _ask(self, what: str, body: object) -> dict[str, Any] | None:
        try:
            message = await self._bus.request(f"{ROOT}.{what}", _encode(body), timeout_s=2.0)
        except Outage:
            return None
        answer: dict[str, Any] = msgspec.json.decode(message.payload)
        return answer

    def _on_end(self, message: Message) -> None:
        tenant, job_id = message.subject.split(".")[3:5]
        account = self.of[tenant]
        self.ended_twice += job_id in account.ended
        account.ended.add(job_id)
        account.open.discard(job_id)
        self.ended[tenant] += 1
        self._tell(job_id, "ended")

    def _on_awaited(self, message: Message) -> None:
        self._tell(message.subject.split(".")[4], "running")

    def _on_refusal(self, message: Message) -> None:
        tenant, request_seq = message.subject.split(".")[3:5]
        account = self.of[tenant]
        if account.first_refusal_s is None:
            account.first_refusal_s = round(time.monotonic() - self._began, 1)
        for item in msgspec.json.decode(message.payload)["refused"]:
            code = item["refusal"]["code"]
            whole = [item["job_id"]] if item.get("job_id") else self._requests[int(request_seq)]
            account.codes[code] += len(whole)
            if code != "job_finished":  # a cancel that came too late
                account.refused.update(whole)
                account.open.difference_update(whole)
            for job_id in whole:
                self._tell(job_id, code)

    def _tell(self, job_id: str, what: str) -> None:
        waited = self._waited.get(job_id)
        if waited is not None and not waited.done():
            waited.set_result(what)
