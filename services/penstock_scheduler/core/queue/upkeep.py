"""What does time alone cause in the queue?

Nodes that are set aside are cleared, guests and victims that stay for too long are seen to, and
places are kept for those who are first. It does not know how each of these is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock_contracts.journal import (
    JobFact,
    JobFinished,
    JobRejected,
    PlaceGivenUp,
    PlaceKept,
    StopRequested,
)
from penstock_scheduler.core.queue.keeping import backfill, fulfilment, guests, reservations

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State


def decide(state: State, before: Sequence[JobFact], now_ns: int) -> list[JobFact]:
    """At a tick, after the facts `before`, which it has caused already: who ends by them is asked
    for nothing more."""
    found: list[JobFact] = []
    if state.reservations:
        found += reservations.decide(state, now_ns)
    if state.places:
        found += guests.decide(state, now_ns)
        found += fulfilment.decide_late(state, now_ns)
    found += backfill.decide(state, now_ns)
    ended = {fact.job_id for fact in before if isinstance(fact, JobFinished | JobRejected)}
    stopped = {fact.job_id for fact in before if isinstance(fact, StopRequested)}
    facts: list[JobFact] = []
    for fact in found:
        if isinstance(fact, StopRequested):
            if fact.job_id not in stopped | ended:
                stopped.add(fact.job_id)
                facts.append(fact)
        elif isinstance(fact, PlaceKept | PlaceGivenUp) and fact.job_id not in ended:
            facts.append(fact)
    return facts
