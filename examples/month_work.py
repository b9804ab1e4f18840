"""What do the five tenants of the demonstration month ask for, and when?

Jobs with their arrival, length and use of what they hold, drawn from one seed: trainings on whole
hosts, experiments by day, batches by night, long sessions, bursts at weekends. It does not know
where they run.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SHORTEST_MS = 45_000


class Work(NamedTuple):
    """`busy_milli`: how much of its devices it uses while it runs."""

    arrives_ms: int
    tenant: str
    spec: JobSpec
    lasts_ms: int
    busy_milli: int


class Habit(NamedTuple):
    """How a tenant works: jobs a day; hours, as median and spread of their logarithm; the hours of
    the day (UTC) and days of the week in which they come; sizes as (ranks, GPUs)."""

    tenant: str
    project: str
    tier: str
    models: tuple[str, ...]
    a_day: float
    hours: float
    spread: float
    when: tuple[int, int]
    weekdays: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    busy: tuple[int, int]


EVERY_DAY = tuple(range(7))
HABITS = (
    Habit("astro", "survey", "", ("H100",), 7.0, 13.0, 0.7, (6, 18), EVERY_DAY,
          ((1, 8), (1, 8), (2, 8), (1, 4)), (780, 970)),
    Habit("astro", "notebooks", "", ("A100",), 9.0, 3.0, 0.9, (7, 19), (0, 1, 2, 3, 4),
          ((1, 1),), (150, 500)),
    Habit("bio", "folding", "", ("A100", "H100"), 34.0, 3.4, 0.9, (6, 20), (0, 1, 2, 3, 4),
          ((1, 1), (1, 2), (1, 2), (1, 4)), (550, 930)),
    Habit("chem", "screening", "spot", ("L40S",), 38.0, 4.2, 0.5, (18, 24), EVERY_DAY,
          ((1, 1), (1, 2), (1, 4)), (820, 990)),
    Habit("lang", "serving", "", ("L40S", "RTX-4090"), 5.0, 46.0, 0.6, (0, 24), EVERY_DAY,
          ((1, 1), (1, 2)), (90, 480)),
    Habit("lang", "tuning", "", ("H100",), 4.0, 9.0, 0.6, (8, 20), EVERY_DAY,
          ((1, 8), (1, 2), (1, 4)), (640, 930)),
    Habit("studio", "frames", "", ("RTX-4090",), 80.0, 2.1, 0.8, (10, 24), (3, 4, 5, 6),
          ((1, 1), (1, 1), (1, 4)), (700, 990)),
)  # fmt: skip


def draw_work(seed: int, start_ms: int, days: int) -> list[Work]:
    """All jobs of the month, by arrival."""
    draw = random.Random(seed)
    found = [
        work
        for habit in HABITS
        for day in range(days)
        for work in _of_day(draw, habit, start_ms, day)
    ]
    found.sort(key=lambda work: work[0])
    return [_named(number, *work) for number, work in enumerate(found, 1)]


def _of_day(draw: random.Random, habit: Habit, start_ms: int, day: int) -> Iterator[Any]:
    midnight_ms = start_ms + day * DAY_MS
    if (midnight_ms // DAY_MS + 3) % 7 not in habit.weekdays:  # 1970-01-01 was a Thursday
        return
    for _ in range(_poisson(draw, habit.a_day)):
        first, last = habit.when
        arrives_ms = midnight_ms + int(draw.uniform(first, last) * HOUR_MS)
        hours = draw.lognormvariate(math.log(habit.hours), habit.spread)
        lasts_ms = max(SHORTEST_MS, int(hours * HOUR_MS))
        yield arrives_ms, habit, draw.choice(habit.sizes), lasts_ms, draw.randint(*habit.busy)


def _named(
    number: int, arrives_ms: int, habit: Habit, size: tuple[int, int], lasts_ms: int, busy: int
) -> Work:
    ranks, gpus = size
    spec = JobSpec(
        job_id=ulid(arrives_ms, number), command=("work",), name=f"{habit.project}-{number}",
        ranks=ranks, gpus=gpus, gpu_models=habit.models, cpu_milli=4_000 * gpus,
        memory_mib=16_384 * gpus, retries=3, project=habit.project, tier=habit.tier,
    )  # fmt: skip
    return Work(arrives_ms, habit.tenant, spec, lasts_ms, busy)


def _poisson(draw: random.Random, mean: float) -> int:
    """Knuth's method; the means are small."""
    limit, product, count = math.exp(-mean), draw.random(), 0
    while product > limit:
        product *= draw.random()
        count += 1
    return count
