"""How do the beginnings of ranks and attempts change the state?

Part of `fold`. It does not decide anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock_contracts.jobs import PREPARING, RUNNING
from penstock_contracts.journal import (
    AttemptPreparing,
    AttemptRunning,
    GangReady,
    RankPrepared,
    RankStarted,
)

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State


def attempt_preparing(state: State, fact: AttemptPreparing, seq: int, now_ns: int) -> None:
    state.move(state.job_of(fact.job_id), PREPARING)


def rank_prepared(state: State, fact: RankPrepared, seq: int, now_ns: int) -> None:
    rank = state.job_of(fact.job_id).ranks[fact.rank]
    rank.prepared, rank.rendezvous = True, fact.rendezvous


def gang_ready(state: State, fact: GangReady, seq: int, now_ns: int) -> None:
    for lease in state.leases_of(state.job_of(fact.job_id)):
        lease.ready = fact.rendezvous
        state.touches.lease(lease)


def rank_started(state: State, fact: RankStarted, seq: int, now_ns: int) -> None:
    state.job_of(fact.job_id).ranks[fact.rank].started = True


def attempt_running(state: State, fact: AttemptRunning, seq: int, now_ns: int) -> None:
    job = state.job_of(fact.job_id)
    state.move(job, RUNNING)
    job.started_ms, job.failed_starts, job.trouble = fact.at_ms, 0, ""
    for rank in job.ranks:
        rank.started = True
