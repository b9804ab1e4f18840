"""What does an attempt come to, now that every rank has ended?

The job has finished, or waits for another attempt. It does not know how ranks end, nor where and
when the next attempt runs.
"""

from __future__ import annotations

from penstock_contracts.journal import AttemptEnded, JobFact, JobFinished, RankExited
from penstock_contracts.leases import YIELDS
from penstock_scheduler.core.resting.jobs import (
    CANNOT_START,
    NOT_STARTED,
    TRIES_MAX,
    given_up,
)
from penstock_scheduler.core.state import DEVICE_FAILURES_MAX, Job, is_failure

DEVICE_FAILED, BUDGET, SPOT = "device_failed", "budget", "spot"
BUDGET_MESSAGE = "stopped: its budget is used up"
LOST_REASONS = frozenset({"lost", "disconnected", DEVICE_FAILED})


def conclude(
    job: Job, ended: dict[int, RankExited], first_failure: int | None, stop_reason: str
) -> JobFact:
    """What the attempt comes to, now that every rank has ended."""
    reasons = {exit_.reason for exit_ in ended.values()}
    if stop_reason == BUDGET and first_failure is None:  # some may have failed before they heard
        first_failure = next((i for i, e in sorted(ended.items()) if is_failure(e)), None)
    decisive = _decisive(ended, first_failure)
    if job.cancel_reason is not None:
        return _finish(job, ended, "cancelled", None, "cancelled", job.cancel_reason)
    if "time_limit" in reasons:
        limit = next(e for _, e in sorted(ended.items()) if e.reason == "time_limit")
        limit_s = job.spec.resolved(job.alternative).time_limit_s
        message = f"stopped after its time limit of {limit_s} s"
        return _finish(job, ended, "timed_out", limit, "time_limit", message)
    if stop_reason in YIELDS and any(map(is_failure, ended.values())):  # else it was done first
        return _put_back(job, "preempted", stop_reason)
    if BUDGET in reasons:
        return _out_of_budget(job, ended)
    if decisive is not None and decisive.reason == "stopped":
        return _put_back(job, "preempted", "node_stopping")
    if decisive is None:
        return _finish(job, ended, "succeeded", ended[0], "exited", "")
    never_ran = decisive.reason in NOT_STARTED
    if never_ran and job.failed_starts + 1 >= TRIES_MAX:
        return _finish(job, ended, "failed", decisive, CANNOT_START, given_up(decisive.message))
    if decisive.reason == "declined":
        return _put_back(job, "stopped", "declined", decisive.message)
    lost = decisive.reason in LOST_REASONS
    spared = decisive.reason == DEVICE_FAILED and job.device_failures < DEVICE_FAILURES_MAX
    if spared or job.retries_used < job.spec.retries:
        message = decisive.message if lost or never_ran else ""
        return _put_back(job, "lost" if lost else "failed", decisive.reason, message)
    return _finish(job, ended, "failed", decisive, decisive.reason, decisive.message, lost=lost)


def _out_of_budget(job: Job, ended: dict[int, RankExited]) -> JobFact:
    """Work of tier `spot` waits for more; other work does not begin anew with what comes in."""
    if job.spec.tier == SPOT:
        return _put_back(job, "preempted", BUDGET)
    spent = next(e for _, e in sorted(ended.items()) if e.reason == BUDGET)
    return _finish(job, ended, "failed", spent, BUDGET, spent.message or BUDGET_MESSAGE)


def _decisive(ended: dict[int, RankExited], first_failure: int | None) -> RankExited | None:
    """The end that counts: of the first rank that failed, unless another's device has: then that is
    why the others fail, however early."""
    if first_failure is None:
        return None
    failed = (end for _, end in sorted(ended.items()) if end.reason == DEVICE_FAILED)
    return next(failed, ended[first_failure])


def _put_back(job: Job, outcome: str, reason: str, message: str = "") -> AttemptEnded:
    return AttemptEnded(job.spec.job_id, job.attempt, outcome, reason, job.tenant, message)


def _finish(
    job: Job,
    ended: dict[int, RankExited],
    state: str,
    decisive: RankExited | None,
    reason: str,
    message: str,
    *,
    lost: bool = False,
) -> JobFinished:
    sizes = dict(job.log_bytes)
    for exit_ in ended.values():
        for stream, size in exit_.log_bytes.items():
            sizes[f"{exit_.attempt}.{exit_.rank}.{stream}"] = size
    return JobFinished(
        job_id=job.spec.job_id,
        tenant=job.tenant,
        attempt=job.attempt,
        state=state,
        exit_code=decisive.exit_code if decisive is not None else None,
        signal=decisive.signal if decisive is not None else None,
        reason=reason,
        message=message,
        log_bytes=sizes,
        lost_before=lost,
    )
