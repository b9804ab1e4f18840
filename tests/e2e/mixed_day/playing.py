"""How is a day played on a mesh that runs?

Reads the scheduler's journal as the administrator, and submits jobs over the wire as each tenant
wants them. It does not judge.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import msgspec

from e2e.mixed_day.plan import TENANTS, Day, Tenant
from e2e.mixed_day.tally import Tally
from e2e.raw import RawClient
from penstock_bus.nats import NatsBus, connect

LOOK_S = 0.2
JOBS_AT_ONCE_MAX = 200
GUARANTEE_S_MAX = 30.0


class _Entry(msgspec.Struct):
    now_ns: int
    facts: list[msgspec.Raw]


_decode = msgspec.json.Decoder(_Entry).decode


class Playing:
    """`said`: jobs of each tenant that are submitted and not yet in the journal, and their GPUs."""

    def __init__(self, day: Day, tally: Tally, client: RawClient, seed: int) -> None:
        self._day = day
        self._tally = tally
        self._client = client
        self._chance = random.Random(seed)
        self._said: dict[str, dict[str, int]] = {tenant.name: {} for tenant in TENANTS}

    async def play(self) -> None:
        began_s = time.monotonic()
        while (at_s := time.monotonic() - began_s) < self._day.seconds:
            await asyncio.gather(*(self._want(tenant, at_s) for tenant in TENANTS))
            await asyncio.sleep(LOOK_S)

    async def _want(self, tenant: Tenant, at_s: float) -> None:
        said = self._said[tenant.name]
        for job_id in [job_id for job_id in said if job_id in self._tally.jobs]:
            del said[job_id]
        jobs: list[dict[str, Any]] = []
        for size, gpus in self._day.wanted(tenant, at_s).items():
            waiting = self._tally.waiting[tenant.name][size] * size
            waiting += sum(asked for asked in said.values() if asked == size)
            for _ in range(min(JOBS_AT_ONCE_MAX, -(-(gpus - waiting) // size))):
                jobs.append(self._day.job(tenant, size, self._chance))
                said[jobs[-1]["job_id"]] = size
        if jobs:
            await self._client.submit(tenant.name, *jobs)


async def play_day(day: Day, nats_url: str, creds: Path, admin: Path, seed: int = 7) -> Tally:
    """The policy holds already; what runs at the end of the day is left running."""
    tally = Tally(day)
    bus = await connect(nats_url, name="day", credentials=str(admin))
    try:
        async with await RawClient.connect(nats_url, creds) as client:
            after = (await bus.stream_state("JOBS")).last_seq
            reading = asyncio.ensure_future(_read(bus, after, tally))
            playing = asyncio.ensure_future(Playing(day, tally, client, seed).play())
            await asyncio.wait((reading, playing), return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
            playing.cancel()
            heard, played = await asyncio.gather(reading, playing, return_exceptions=True)
            for ended in (heard, played):
                if isinstance(ended, Exception):
                    raise ended
    finally:
        await bus.close()
    tally.close()
    return tally


async def _read(bus: NatsBus, after_seq: int, tally: Tally) -> None:
    reader = await bus.reader("JOBS", after_seq=after_seq)
    try:
        while True:
            for message in await reader.next_batch():
                entry = _decode(message.payload)
                tally.entry(entry.now_ns, entry.facts)
    finally:
        await reader.close()


def report(tally: Tally) -> dict[str, Any]:
    """Shares in thousandths of the day's device time; times in seconds."""
    owed = {name: [ns / 1e9 for ns in found] for name, found in tally.owed_ns.items()}
    tenants = {}
    for tenant in TENANTS:
        held = tally.held_ns[tenant.name] / tally.all_ns
        fair = tally.fair_ns[tenant.name] / tally.all_ns
        tenants[tenant.name] = {
            "guaranteed_percent": tenant.percent,
            "held_percent": round(100 * held, 2),
            "fair_percent": round(100 * fair, 2),
            "off_by_percent": round(100 * (held - fair), 2),
            "owed_times": len(owed[tenant.name]),
            "owed_s_max": round(max(owed[tenant.name], default=0.0), 2),
            "owed_over_30_s": sum(s > GUARANTEE_S_MAX for s in owed[tenant.name]),
        }
    kept_s = sorted(ns / 1e9 for ns in tally.kept_ns)
    return {
        "tenants": tenants,
        "utilisation_percent": round(100 * sum(tally.held_ns.values()) / tally.all_ns, 2),
        "counts": dict(sorted(tally.counts.items())),
        "preemptions_that_led_to_a_start": len(kept_s),
        "until_the_start_s_max": round(kept_s[-1], 2) if kept_s else None,
        "infeasible": dict(tally.broken_promises),
    }
