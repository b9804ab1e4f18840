"""How do tenants behave?

Each submits, follows, cancels and submits again at moments it draws, by the Python client or
through the gateway, and writes down what it was told. It does not know which faults befall the
mesh.
"""

from __future__ import annotations

import asyncio
import contextlib
import random

import msgspec

from penstock_bus.memory import connect
from penstock_bus.port import Outage
from penstock_client.client import Client
from penstock_client.failures import Refused, Unavailable
from penstock_contracts.jobs import JobSpec
from tests.checkers.history import Cancel, History, Submission
from tests.simulation.broker import ObservedBroker
from tests.simulation.http import Door, Unreachable
from tests.simulation.kernel import Kernel
from tests.simulation.purses import draw_purse
from tests.simulation.standings import alike, draw_standing
from tests.simulation.steward import Steward
from tests.simulation.surroundings import draw_surroundings
from tests.simulation.treasury import Treasury
from tests.simulation.wishes import draw_wishes
from tests.simulation.workload import draw_job

RETRY_S = 3.0
OPENING_S_MAX = 60.0
"""Most wait until it has been said who may spend what, or nobody has said it for so long."""
BATCH_MAX = 5
ALIKE_SHARE = 0.3
"""Of requests for several jobs, which only differ in what they are called."""
PACES = (1, 1, 5, 12)


class Tenant:
    """Asks for `jobs` jobs until `until_s`. `done`: it will ask for nothing more."""

    def __init__(
        self,
        kernel: Kernel,
        broker: ObservedBroker,
        door: Door,
        history: History,
        name: str,
        *,
        jobs: int,
        gpus_max: int,
        until_s: float,
        treasury: Treasury,
        steward: Steward,
    ) -> None:
        self.name = name
        self.done = False
        self._kernel, self._broker, self._door, self._history = kernel, broker, door, history
        own = kernel.rng.getrandbits(64)
        self._rng = random.Random(own)
        self._wishes = random.Random(f"wishes {own}")
        self._surroundings = random.Random(f"surroundings {own}")
        self._purse = random.Random(f"purse {own}") if treasury.cares else None
        self._standing = random.Random(f"standing {own}")
        self._steward = steward
        self._prepaid = name in treasury.prepaid
        self._opened = treasury.opened
        self._jobs, self._gpus_max, self._until_s = jobs, gpus_max, until_s
        self._pace = self._rng.choice(PACES)
        self._asked: list[JobSpec] = []
        self._following: set[asyncio.Task[None]] = set()

    async def live(self) -> int:
        """Its process."""
        rng, loop = self._rng, self._kernel.loop
        client = Client(await self._connect())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._opened.wait(), OPENING_S_MAX)
        left = self._jobs
        moments = sorted(rng.uniform(1.0, self._until_s) for _ in range(max(1, self._jobs // 3)))
        for number, moment in enumerate(moments):
            await asyncio.sleep(max(0.0, moment - loop.time()))
            last = number == len(moments) - 1
            count = left if last else min(left, rng.randint(1, BATCH_MAX))
            if count:
                await self._submit(client, self._draw_batch(count))
                left -= count
            await self._meddle(client)
        self.done = True
        await asyncio.gather(*self._following)
        return 0

    async def _connect(self):  # type: ignore[no-untyped-def]
        while True:
            try:
                return await connect(self._broker, name=self.name)
            except Outage:
                await asyncio.sleep(RETRY_S)

    def _draw_batch(self, count: int) -> list[JobSpec]:
        specs = [self._draw() for _ in range(count)]
        if self._standing.random() < ALIKE_SHARE:
            specs = alike(specs)
        self._asked += specs
        return specs

    def _draw(self) -> JobSpec:
        now_ns = self._kernel.now_ns
        spec = draw_job(self._rng, now_ns, gpus_max=self._gpus_max, pace=self._pace)
        spec = draw_wishes(self._wishes, spec, gpus_max=self._gpus_max)
        spec = draw_surroundings(self._surroundings, spec)
        if self._purse is not None:
            spec = draw_purse(self._purse, spec, prepaid=self._prepaid)
        return draw_standing(
            self._standing, spec, now_ms=now_ns // 1_000_000, pools=self._steward.pools
        )

    async def _submit(self, client: Client, specs: list[JobSpec]) -> None:
        """Until it is told that the request is stored, as a careful program would; a careless one
        gives up, and does not know."""
        for _ in range(self._rng.choice((1, 20))):
            by_http = self._rng.random() < 0.3
            told = await (self._post(specs) if by_http else self._store(client, specs))
            for spec in specs:
                self._note(spec, self._broker.requests.get(spec.job_id) if told else None)
            if told:
                break
            await asyncio.sleep(RETRY_S)
        if self._rng.random() < 0.3:
            task = asyncio.ensure_future(self._follow(client, self._rng.choice(specs)))
            self._following.add(task)

    async def _store(self, client: Client, specs: list[JobSpec]) -> bool:
        try:
            await client.submit(specs, self.name)
        except (Unavailable, Refused, Outage):
            return False
        return True

    async def _post(self, specs: list[JobSpec]) -> bool:
        body = msgspec.json.encode({"jobs": specs})
        try:
            status, _ = await self._door.ask("POST", f"/v1/jobs?tenant={self.name}", body)
        except Unreachable:
            return False
        return status == 202

    async def _follow(self, client: Client, spec: JobSpec) -> None:
        """Some watch, and must be told the end."""
        limit_s = self._kernel.loop.time() + 7200
        try:
            async with asyncio.timeout_at(limit_s):
                async for _ in client.follow(spec.job_id, self.name):
                    pass
        except (Unavailable, TimeoutError):
            return

    async def _meddle(self, client: Client) -> None:
        """Cancel something, or send something again: the same, or another job under its id."""
        rng = self._rng
        spec = rng.choice(self._asked) if self._asked else None
        kind = rng.random()
        if spec is None:
            return
        if kind < 0.25:
            await self._cancel(client, spec)
        elif kind < 0.35:
            await self._submit_once(client, spec)
        elif kind < 0.4:
            await self._submit_once(client, msgspec.structs.replace(spec, priority=2, name="other"))

    async def _cancel(self, client: Client, spec: JobSpec) -> None:
        seq: int | None = None
        try:
            seq = await client.cancel(spec.job_id, self.name, reason="not wanted any more")
        except (Unavailable, Refused, Outage):
            seq = None
        now = self._kernel.now_ns
        self._history.cancels.append(
            Cancel(at_ns=now, tenant=self.name, job_id=spec.job_id, request_seq=seq)
        )

    async def _submit_once(self, client: Client, spec: JobSpec) -> None:
        told = await self._store(client, [spec])
        self._note(spec, self._broker.requests.get(spec.job_id) if told else None)

    def _note(self, spec: JobSpec, seq: int | None) -> None:
        self._history.submissions.append(
            Submission(
                at_ns=self._kernel.now_ns,
                tenant=self.name,
                job_id=spec.job_id,
                request_seq=seq,
                spec=spec,
            )
        )
