"""What is promised to those who wait, beside what is held?

Who takes the place of others is to have it also as far as quotas go: until those have gone, what
their going allows is nobody else's. It does not know what is free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock_contracts.queue_facts import PREEMPTION
from penstock_contracts.queue_policy import Quota
from penstock_scheduler.core.queue.quotas.rules import Leaf
from penstock_scheduler.core.queue.quotas.shares import Account, Ask, ask_of

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State

NOTHING = Ask(0, 0)


def promised(state: State, but: str = "") -> dict[Account, Ask]:
    """By account, what others have had to make room for; without the job `but`."""
    found: dict[Account, Ask] = {}
    for place in state.places:
        job_id = place.fact.job_id
        if place.fact.cause == PREEMPTION and job_id != but:
            job, ask = state.jobs[job_id], ask_of(place.shape)
            for account in state.shares.path(state.leaf_of(job.tenant, job.spec)):
                found[account] = total(found.get(account, NOTHING), ask)
    return found


def holding(state: State, leaf: Leaf, ask: Ask, job_id: str) -> Quota | None:
    """The quota whose maximum does not allow this job too, with what is promised to others; None =
    all do."""
    more = promised(state, job_id) if leaf.quota and state.places else None
    if not more:
        return state.shares.holding(leaf, ask) if leaf.quota else None
    for account in state.shares.path(leaf):
        gpu, cpu = total(more.get(account, NOTHING), ask)
        if not account.allows(Ask(gpu if ask.gpu_milli else 0, cpu if ask.cpu_milli else 0)):
            return account.quota
    return None


def total(one: Ask, other: Ask) -> Ask:
    return Ask(one.gpu_milli + other.gpu_milli, one.cpu_milli + other.cpu_milli)
