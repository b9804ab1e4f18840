"""What do the tenants of the mesh under fire ask for?

Short jobs of every shape at a steady pace, cancels, and the same job asked for again, each request
repeated until the broker has acknowledged it. It writes down what it asked and what it was told,
and does not look at what becomes of it.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path

import msgspec

from penstock_bus.nats import NatsBus
from penstock_bus.port import BusRefusal, Outage
from penstock_contracts.ids import ROOT, ulid
from penstock_contracts.jobs import CancelJob, JobSpec
from tests.checkers.history import Cancel, History, Submission

PROGRAM = Path(__file__).with_name("job.py")
TENANTS = ("red", "green", "blue")
PAUSE_S_MAX = 2.0
ASK_S_MAX = 2.0
REPEAT_S = 0.3
OPEN_MAX = 256
"""Requests that wait for their acknowledgement: more are not begun."""
PATIENCE_S = 300.0


def boottime_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Load:
    """`asked` counts jobs; `unanswered` those requests that were given up."""

    def __init__(
        self, bus: NatsBus, history: History, socket: Path, rng: random.Random, devices: int
    ) -> None:
        self.asked = 0
        self.unanswered = 0
        self._bus, self._history, self._socket = bus, history, socket
        self._rng, self._devices = rng, devices
        self._open: set[asyncio.Task[None]] = set()
        self._specs: list[tuple[str, JobSpec]] = []

    async def run(self, jobs: int, seconds: float) -> None:
        """Asks for `jobs` jobs, spread over `seconds`; returns when all is acknowledged."""
        begun = asyncio.get_running_loop().time()
        while self.asked < jobs:
            due = begun + seconds * self.asked / jobs
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            while len(self._open) >= OPEN_MAX:
                await asyncio.wait(self._open, return_when=asyncio.FIRST_COMPLETED)
            self._ask(min(self._rng.choice((1, 1, 1, 2, 5)), jobs - self.asked))
            self._meddle()
        if self._open:
            await asyncio.wait(self._open)

    def _ask(self, count: int) -> None:
        tenant = self._rng.choice(TENANTS)
        specs = [self._draw() for _ in range(count)]
        self.asked += count
        self._specs += [(tenant, spec) for spec in specs]
        del self._specs[:-OPEN_MAX]
        self._begin(self._submit(tenant, specs))

    def _meddle(self) -> None:
        """Now and then a cancel, or the same job again."""
        tenant, spec = self._rng.choice(self._specs)
        kind = self._rng.random()
        if kind < 0.08:
            self._begin(self._cancel(tenant, spec, self._rng.uniform(0.0, PAUSE_S_MAX)))
        elif kind < 0.16:
            self._begin(self._submit(tenant, [spec]))

    def _begin(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)  # type: ignore[arg-type]
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _submit(self, tenant: str, specs: list[JobSpec]) -> None:
        payload = msgspec.json.encode({"jobs": specs} if len(specs) > 1 else specs[0])
        seq = await self._store(f"{ROOT}.request.job.{tenant}.submit", payload)
        for spec in specs:
            self._history.submissions.append(
                Submission(
                    at_ns=boottime_ns(),
                    tenant=tenant,
                    job_id=spec.job_id,
                    request_seq=seq,
                    spec=spec,
                )
            )

    async def _cancel(self, tenant: str, spec: JobSpec, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        payload = msgspec.json.encode(CancelJob(job_id=spec.job_id, reason="not wanted"))
        seq = await self._store(f"{ROOT}.request.job.{tenant}.cancel", payload)
        cancel = Cancel(at_ns=boottime_ns(), tenant=tenant, job_id=spec.job_id, request_seq=seq)
        self._history.cancels.append(cancel)

    async def _store(self, subject: str, payload: bytes) -> int | None:
        """The request's sequence; None: it may be stored or not."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while asyncio.get_running_loop().time() < deadline:
            try:
                return (await self._bus.append(subject, payload, timeout_s=ASK_S_MAX)).seq
            except (Outage, BusRefusal):
                await asyncio.sleep(REPEAT_S)
        self.unanswered += 1
        return None

    def _draw(self) -> JobSpec:
        rng = self._rng
        ranks, gpus, gpu_milli = rng.choice(
            ((1, 1, 1000),) * 6
            + ((1, 0, 1000), (1, 2, 1000), (1, 1, 500), (1, 1, 250), (2, 1, 1000), (3, 2, 1000))
        )
        pause_s = rng.uniform(0.0, PAUSE_S_MAX)
        code = rng.choice((0,) * 8 + (1, 7))
        limited = rng.random() < 0.05
        return JobSpec(
            job_id=ulid(time.time_ns() // 1_000_000, rng.getrandbits(80)),
            command=(
                *(sys.executable, "-I", "-S", str(PROGRAM), str(self._socket)),
                *(f"{pause_s + (3.0 if limited else 0.0):.3f}", str(code)),
            ),
            name="chaos",
            ranks=ranks,
            gpus=min(gpus, self._devices),
            gpu_milli=gpu_milli,
            priority=rng.choice((5, 5, 5, 1, 9)),
            time_limit_s=1 if limited else None,
            retries=rng.choice((0, 0, 1, 3)),
            grace_s=rng.choice((2, 10)),
            disconnect_s=rng.choice((None, None, None, 20)),
        )
