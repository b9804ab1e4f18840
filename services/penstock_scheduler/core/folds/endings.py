"""How do the ends of ranks and attempts change the state?

Part of `fold`. It does not decide anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock_contracts.jobs import QUEUED
from penstock_contracts.journal import (
    AttemptEnded,
    CancelRequested,
    JobsWoken,
    RankExited,
    StopRequested,
)
from penstock_contracts.leases import YIELDS
from penstock_scheduler.core.queue import folds as queue_folds
from penstock_scheduler.core.queue.yielding.victims import saved_ms
from penstock_scheduler.core.resting import jobs as resting_jobs
from penstock_scheduler.core.state import DEVICE_FAILURES_MAX, is_failure

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State

UNFIT_REASONS = ("declined", "device_failed")
"""What ends so is tried on other nodes first."""


def stop_requested(state: State, fact: StopRequested, seq: int, now_ns: int) -> None:
    """The attempt is to end; its nodes hear of it."""
    job = state.job_of(fact.job_id)
    job.stop_reason = fact.reason
    for lease in state.leases_of(job):
        lease.stop_reason = fact.reason
        state.touches.lease(lease)


def cancel_requested(state: State, fact: CancelRequested, seq: int, now_ns: int) -> None:
    """Its end will be that it was cancelled."""
    state.job_of(fact.job_id).cancel_reason = fact.reason


def rank_exited(state: State, fact: RankExited, seq: int, now_ns: int) -> None:
    """One rank has ended; of the attempt nothing is said yet."""
    job = state.job_of(fact.job_id)
    node = job.ranks[fact.rank].node
    state.failing.note(node, job, fact, now_ns)
    job.ranks[fact.rank].exited = fact
    for stream, size in fact.log_bytes.items():
        job.log_bytes[f"{fact.attempt}.{fact.rank}.{stream}"] = size
    if job.first_failure is None and not job.stop_reason and is_failure(fact):
        job.first_failure = fact.rank
    if fact.reason in UNFIT_REASONS:
        job.avoid = tuple(sorted({*job.avoid, node}))


def attempt_ended(state: State, fact: AttemptEnded, seq: int, now_ns: int) -> None:
    """The job waits for another one, in line or at rest."""
    job = state.job_of(fact.job_id)
    state.end_leases(job)
    state.move(job, QUEUED)
    if fact.reason == "device_failed" and job.device_failures < DEVICE_FAILURES_MAX:
        job.device_failures += 1
    else:
        job.retries_used += fact.outcome in ("failed", "lost")
    if fact.outcome == "failed" or fact.reason == "declined":
        state.order += 1  # it has had its turn: those that wait go first
        job.order, job.since_ns = state.order, now_ns
    if fact.reason in YIELDS:
        job.yielded += 1
        job.saved_ms += saved_ms(job)
    if fact.reason in resting_jobs.NOT_STARTED:
        resting_jobs.not_started(job, fact.message, now_ns)
    if fact.reason not in UNFIT_REASONS or len(job.avoid) >= len(state.nodes):
        job.avoid = ()
    job.drop_old_sizes()
    job.attempt = fact.attempt + 1
    job.ranks, job.lease_seq, job.placed_ns, job.started_ms = [], 0, None, None
    job.alternative, job.stop_reason, job.first_failure = 0, "", None
    job.expected_start_ms = job.estimated_ms = None
    state.payers.pop(fact.job_id, None)
    queue_folds.expect(state, job)
    state.wait(job)


def jobs_woken(state: State, fact: JobsWoken, seq: int, now_ns: int) -> None:
    """They are in line again; those that rest no more stay as they are."""
    for job_id in fact.job_ids:
        job = state.jobs.get(job_id)
        if job is not None and job_id in state.resting:
            job.rests_until_ns = None
            state.resting.discard(job)
            state.enqueue(job)
