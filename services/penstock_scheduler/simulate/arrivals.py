"""Which jobs arrive, in which order and when?

The protocol of the OpenB packing experiments: all jobs of a list shuffled, then drawn again until a
given part of the fleet's devices has been asked for. And traces with times, laid over each other
and brought closer together until they load a fleet. It does not know what becomes of them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from penstock_scheduler.core.packing.shapes import PackShape
from penstock_scheduler.simulate.traces import Timed

HALVINGS = 60
"""Of the span of arrivals, while that is sought which gives the load asked for."""


def inflated(
    jobs: Sequence[PackShape], seed: int, capacity_milli: int, inflate: float
) -> list[PackShape]:
    """The list in a seed's order, with as many more jobs, or as few, as make the milli-GPU asked
    for reach `inflate` times the capacity without passing it."""
    draws = random.Random(seed)
    order = list(jobs)
    draws.shuffle(order)
    asked = sum(job.asked_milli for job in order)
    most = int(capacity_milli * inflate)
    while asked > most:
        asked -= order.pop(draws.randrange(len(order))).asked_milli
    while True:
        job = jobs[draws.randrange(len(jobs))]
        if asked + job.asked_milli > most:
            return order
        asked += job.asked_milli
        order.append(job)


def repeated(jobs: Sequence[Timed], times: int, seed: int) -> list[Timed]:
    """The trace laid over itself: each further copy is turned about the span of arrivals by an
    offset that the seed draws, what would come after the span's end coming at its beginning. By
    arrival; what arrives at once in the order of the copies."""
    draws = random.Random(seed)
    first_s = jobs[0].arrival_s
    span_s = jobs[-1].arrival_s - first_s + 1
    found = [job._replace(arrival_s=job.arrival_s - first_s) for job in jobs]
    for _ in range(times - 1):
        offset_s = draws.randrange(span_s)
        found += [
            job._replace(arrival_s=(job.arrival_s - first_s + offset_s) % span_s) for job in jobs
        ]
    return sorted(found, key=lambda job: job.arrival_s)


def evened(jobs: Sequence[Timed]) -> list[Timed]:
    """The same jobs in the same order, with the same time between each two: without the bursts in
    which a trace was recorded."""
    first_s = jobs[0].arrival_s
    step_s = max(1, -(-(jobs[-1].arrival_s - first_s) // max(1, len(jobs) - 1)))
    return [job._replace(arrival_s=first_s + i * step_s) for i, job in enumerate(jobs)]


def compression_for(jobs: Sequence[Timed], capacity_milli: int, load: float) -> float | None:
    """By how much the times between arrivals must be divided for the jobs to ask, between the first
    arrival and the last, for `load` times the device time that the fleet has in that time; None
    when they never do, however close they come."""
    first_s = jobs[0].arrival_s
    span_s = jobs[-1].arrival_s - first_s
    if not span_s:
        return None
    places = [((job.arrival_s - first_s) / span_s, job) for job in jobs]
    most = sum(job.shape.asked_milli * (1 - place) for place, job in places)
    if most <= load * capacity_milli:
        return None
    low_s, high_s = 0.0, 1.0
    while _load(places, capacity_milli, high_s) > load:
        low_s, high_s = high_s, high_s * 2
    for _ in range(HALVINGS):
        middle_s = (low_s + high_s) / 2
        if _load(places, capacity_milli, middle_s) > load:
            low_s = middle_s
        else:
            high_s = middle_s
    return span_s / high_s


def _load(places: Sequence[tuple[float, Timed]], capacity_milli: int, span_s: float) -> float:
    """What is asked for within the span, as a part of what there is. `places`: when each job comes,
    as a part of the span."""
    asked = sum(
        job.shape.asked_milli * min(job.duration_s, (1 - place) * span_s) for place, job in places
    )
    return asked / (capacity_milli * span_s)
