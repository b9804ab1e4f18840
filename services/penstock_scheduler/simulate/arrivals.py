"""Which jobs arrive, in which order?

The protocol of the OpenB packing experiments: all jobs of a list shuffled, then drawn again until a
given part of the fleet's devices has been asked for. It does not know what becomes of them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from penstock_scheduler.core.packing.shapes import PackShape


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
