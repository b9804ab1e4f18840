"""Who wants what, and when, on a day of mixed load?

Five tenants with guarantees of 40, 20, 20, 10 and 10 percent of the devices. Each wants more than
that in its hours and nothing in the others, so that what is idle is borrowed and taken back. A day
is played in a few minutes: its hours and its jobs are shorter alike, what a scheduler and hosts
take is not. It does not know a mesh.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, NamedTuple

from e2e.raw import ulid

HOURS = 24
TIMES_LONGER_MAX = 10.0
GANG_PERCENT = 3
SAVING = 'trap "exit 75" USR1; sleep "$0" & wait'
"""Work that ends itself when it is told to save what it has done."""


class Tenant(NamedTuple):
    """`hours`: in which it wants more than its guarantee, as half-open spans. `sizes`: of its jobs
    in GPUs."""

    name: str
    percent: int
    hours: tuple[tuple[float, float], ...]
    sizes: tuple[int, ...]


TENANTS = (
    Tenant("atlas", 40, ((0, 3), (7, 24)), (1, 1, 2, 4, 8)),
    Tenant("borealis", 20, ((0, 24),), (1, 2, 2, 4)),
    Tenant("corvus", 20, ((1, 5), (8, 20), (22, 24)), (1, 1, 1, 2, 8)),
    Tenant("delta", 10, ((0, 2), (4, 6), (9, 13), (15, 24)), (1, 1, 2)),
    Tenant("ember", 10, ((2, 11), (12, 24)), (1, 2, 4)),
)


class Day(NamedTuple):
    """`seconds` that it really takes, on so many `gpus`. Half of the jobs are shorter than
    `median_minutes` of the day."""

    seconds: float
    gpus: int
    median_minutes: float = 8.0

    @property
    def hour_s(self) -> float:
        return self.seconds / HOURS

    def guaranteed(self, tenant: Tenant) -> int:
        return self.gpus * tenant.percent // 100

    def wanted(self, tenant: Tenant, at_s: float) -> dict[int, int]:
        """How many GPUs' work of each size of jobs shall wait at that second of the day."""
        hour = at_s / self.hour_s
        if not any(begin <= hour < end for begin, end in tenant.hours):
            return {}
        part = self.guaranteed(tenant) // len(tenant.sizes)
        return {size: max(size, part * count) for size, count in Counter(tenant.sizes).items()}

    def job(self, tenant: Tenant, size: int, chance: random.Random) -> dict[str, Any]:
        """One more job of the tenant, of so many GPUs."""
        times = min(TIMES_LONGER_MAX, chance.lognormvariate(0.0, 0.9))
        minutes = times * self.median_minutes
        lasts_s = max(0.2, minutes * self.hour_s / 60)
        job: dict[str, Any] = {
            "job_id": ulid(),
            "command": ["sleep", f"{lasts_s:.3f}"],
            "name": f"{tenant.name}-{size}",
            "gpus": size,
            "cpu_milli": 10,
            "priority": chance.choice((4, 5, 5, 5, 6)),
            "grace_s": 2,
        }
        if chance.randrange(100) < GANG_PERCENT and size >= 4:
            job |= {"ranks": 2, "gpus": size // 2}
        kind = chance.randrange(4)
        if kind == 0:
            job["time_limit_s"] = int(lasts_s * 1.5) + 2
        elif kind == 1:
            job |= {
                "command": ["sh", "-c", SAVING, f"{lasts_s:.3f}"],
                "checkpoint_signal": "SIGUSR1",
            }
        return job

    def policy(self) -> str:
        """As an operator writes it."""
        lines = [
            f'half_life = "{max(1, round(self.hour_s))}s"',
            "[[pools]]",
            'name = "default"',
            'order = "tiered"',
            'backfill = "easy"',
            'preempt = "reclaim"',
            f'aging = "{max(1, round(self.hour_s / 2))}s"',
        ]
        for tenant in TENANTS:
            lines += [
                "[[quotas]]",
                f'name = "{tenant.name}"',
                f'tenant = "{tenant.name}"',
                f"guaranteed_gpus = {self.guaranteed(tenant)}",
                f"weight = {tenant.percent}",
            ]
        return "\n".join(lines) + "\n"
