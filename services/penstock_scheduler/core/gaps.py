"""What becomes of the state when facts are missing from it?

An entry was damaged. What ended has ended, whatever is missing before it; what does not fit is left
out; an attempt of which nobody can tell any more is lost. Requests and reports since then are read
again, and nodes are sent everything: so the rest comes back. It does not know what was damaged.
"""

from __future__ import annotations

from penstock_contracts.errors import InvariantError
from penstock_contracts.jobs import QUEUED
from penstock_contracts.journal import JobFact, JobFinished, JobRejected, RankExited
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.reports import end_ranks
from penstock_scheduler.core.state import DIGEST_LOST


def apply_after_gap(state: State, fact: JobFact, seq: int, now_ns: int) -> bool:
    """Folds a fact as far as it fits; False when it was left out."""
    if isinstance(fact, JobFinished | JobRejected):
        ended = "rejected" if isinstance(fact, JobRejected) else fact.state
        _end(state, fact.job_id, ended)
        return True
    try:
        state.apply(fact, seq, now_ns)
    except (InvariantError, LookupError):
        return False
    return True


def _end(state: State, job_id: str, ended: str) -> None:
    job = state.jobs.get(job_id)
    if job is not None:
        state.end(job, ended)
    elif job_id not in state.remembered:
        state.accepted += 1
        state.remembered[job_id] = DIGEST_LOST
        state.finished[ended] = state.finished.get(ended, 0) + 1


def decide_gap(state: State, now_ns: int) -> list[JobFact]:
    """Ranks that have not ended and hold no lease are lost: no node can tell of them."""
    facts: list[JobFact] = []
    for job_id in sorted(state.jobs):
        job = state.jobs[job_id]
        if job.state == QUEUED:
            continue
        exits = [
            RankExited(
                job_id=job_id,
                attempt=job.attempt,
                rank=number,
                reason="lost",
                at_ms=now_ns // 1_000_000,
                message="what was known of it was damaged",
            )
            for number, rank in enumerate(job.ranks)
            if rank.exited is None and (job_id, job.attempt, number) not in state.leases
        ]
        if exits:
            facts += end_ranks(job, exits)
    return facts
