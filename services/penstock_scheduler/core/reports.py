"""What follows from what an agent reports?

Each report names a lease; one that does not match the present holder changes nothing, so a zombie
or a repeat is harmless. When the last rank of an attempt has ended, the attempt is concluded here:
finished, retried or put back in line. It does not know how reports travel.
"""

from __future__ import annotations

from penstock_contracts.jobs import PLACED, RUNNING, SUCCEEDED
from penstock_contracts.journal import (
    AttemptEnded,
    AttemptPreparing,
    AttemptRunning,
    GangReady,
    JobFact,
    JobFinished,
    RankExited,
    RankPrepared,
    RankReleased,
    RankStarted,
    StopRequested,
)
from penstock_contracts.leases import (
    Declined,
    Described,
    Exited,
    LeaseStep,
    Prepared,
    Preparing,
    Released,
    Started,
)
from penstock_scheduler.core import resting
from penstock_scheduler.core.events import NodeReported
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.state import DEVICE_FAILURES_MAX, Job, Lease, is_failure

DECLINES_MAX = 10
"""A job that this many agents declined in a row has failed."""
DEVICE_FAILED, BUDGET, SPOT = "device_failed", "budget", "spot"
BUDGET_MESSAGE = "stopped: its budget is used up"
LOST_REASONS = frozenset({"lost", "disconnected", DEVICE_FAILED})
PUT_BACK_REASONS = frozenset({"preempted", "drained"})


def decide_report(state: State, event: NodeReported, now_ns: int) -> list[JobFact]:
    """Facts that one item of a report causes; none when it is not about the present holder."""
    item = event.item
    if isinstance(item, Described):
        return []
    lease = state.leases.get((item.job_id, item.attempt, item.rank))
    if lease is None:
        return _exit_without_lease(state, event.node, item)
    if lease.lease_seq != item.lease_seq or lease.node != event.node:
        return []
    job = state.jobs.get(item.job_id)
    if job is not None and job.attempt != item.attempt:
        job = None
    if isinstance(item, Released):
        facts = _released(lease, item.at_ms, "release_check")
        if job is not None:  # an end that was told before may be lost: then nobody knows it
            facts += lose_ranks(job, [lease], item.at_ms, "its end was never heard of")
        return facts
    if isinstance(item, Declined):
        node = state.nodes.get(lease.node)
        rest = resting.refused(node, now_ns) if node is not None else []
        return [*_declined(job, lease, item), *rest]
    if job is None or job.ranks[item.rank].exited is not None:
        return []
    if isinstance(item, Exited):
        return [*end_ranks(job, [exit_of(item)]), *_rest_of(state, lease, item, now_ns)]
    if isinstance(item, Preparing):
        return _preparing(job, item)
    if isinstance(item, Prepared | Started):
        node = state.nodes.get(lease.node)
        well = resting.accepted(node, lease) if node is not None else []
        steps = _started(job, item) if isinstance(item, Started) else _prepared(job, item)
        return [*steps, *well]
    return []


def _rest_of(state: State, lease: Lease, item: Exited, now_ns: int) -> list[JobFact]:
    """A node whose device has failed is given nothing for a moment: which device that is, it says
    on another way, and nobody is to be sent to it before that has arrived."""
    node = state.nodes.get(lease.node)
    if item.reason != DEVICE_FAILED or node is None:
        return []
    return list(resting.refused(node, now_ns))


def _exit_without_lease(state: State, node: str, item: LeaseStep) -> list[JobFact]:
    """A rank cannot be released before it has ended, unless an entry was damaged: then its end is
    still to be told."""
    job = state.jobs.get(item.job_id)
    if not isinstance(item, Exited) or job is None or job.lease_seq != item.lease_seq:
        return []
    if (
        job.attempt != item.attempt
        or item.rank >= len(job.ranks)
        or job.ranks[item.rank].node != node
        or job.ranks[item.rank].exited is not None
    ):
        return []
    return end_ranks(job, [exit_of(item)])


def _preparing(job: Job, item: LeaseStep) -> list[JobFact]:
    if job.state != PLACED:
        return []
    return [AttemptPreparing(job.spec.job_id, job.attempt, item.at_ms, job.tenant)]


def _prepared(job: Job, item: Prepared) -> list[JobFact]:
    if job.ranks[item.rank].prepared or job.stop_reason:
        return []
    facts = _preparing(job, item)
    facts.append(RankPrepared(job.spec.job_id, job.attempt, item.rank, item.rendezvous))
    others = (rank.prepared for i, rank in enumerate(job.ranks) if i != item.rank)
    rendezvous = item.rendezvous if item.rank == 0 else job.ranks[0].rendezvous
    if all(others) and rendezvous is not None:
        facts.append(GangReady(job.spec.job_id, job.attempt, rendezvous))
    return facts


def _started(job: Job, item: Started) -> list[JobFact]:
    if job.ranks[item.rank].started:
        return []
    facts = _preparing(job, item)
    if len(job.ranks) > 1:
        facts.append(RankStarted(job.spec.job_id, job.attempt, item.rank, item.at_ms))
    if all(rank.started for i, rank in enumerate(job.ranks) if i != item.rank):
        facts.append(AttemptRunning(job.spec.job_id, job.attempt, item.at_ms, job.tenant))
    return facts


def _declined(job: Job | None, lease: Lease, item: Declined) -> list[JobFact]:
    facts = _released(lease, item.at_ms, "declined")
    if job is None or job.ranks[item.rank].exited is not None:
        return facts
    message = f"{lease.node}: {item.message} ({item.code})"
    exit_ = RankExited(
        job_id=item.job_id,
        attempt=item.attempt,
        rank=item.rank,
        reason="declined",
        at_ms=item.at_ms,
        message=message,
    )
    return facts + end_ranks(job, [exit_])


def _released(lease: Lease, at_ms: int | None, evidence: str) -> list[JobFact]:
    return [RankReleased(lease.job_id, lease.attempt, lease.rank, at_ms, evidence)]


def exit_of(item: Exited) -> RankExited:
    """The fact an exit report becomes."""
    return RankExited(
        job_id=item.job_id,
        attempt=item.attempt,
        rank=item.rank,
        reason=item.reason,
        at_ms=item.at_ms,
        exit_code=item.exit_code,
        signal=item.signal,
        started_ms=item.started_ms,
        message=item.message,
        log_bytes=item.log_bytes,
        segments=item.segments,
        outputs=item.outputs,
    )


def end_ranks(job: Job, exits: list[RankExited]) -> list[JobFact]:
    """Records ends of ranks, stops the others when one failed, concludes when none is left."""
    facts: list[JobFact] = []
    ended: dict[int, RankExited] = {
        index: rank.exited for index, rank in enumerate(job.ranks) if rank.exited is not None
    }
    first_failure, stop_reason = job.first_failure, job.stop_reason
    for exit_ in exits:
        facts.append(exit_)
        ended[exit_.rank] = exit_
        if first_failure is None and not stop_reason and is_failure(exit_):
            first_failure = exit_.rank
    if len(ended) == len(job.ranks):
        end = _conclude(job, ended, first_failure, stop_reason)
        if isinstance(end, JobFinished) and end.state == SUCCEEDED and job.state != RUNNING:
            # A node that says how the work ended without ever having said that it began.
            facts.append(AttemptRunning(job.spec.job_id, job.attempt, exits[-1].at_ms, job.tenant))
        facts.append(end)
    elif first_failure is not None and not stop_reason:
        facts.append(StopRequested(job.spec.job_id, job.attempt, "gang_failed"))
    return facts


def lose_ranks(job: Job, leases: list[Lease], at_ms: int, message: str) -> list[JobFact]:
    """Declares ranks lost whose end nobody can report any more."""
    exits = [
        RankExited(
            job_id=lease.job_id,
            attempt=lease.attempt,
            rank=lease.rank,
            reason="lost",
            at_ms=at_ms,
            message=message,
        )
        for lease in leases
        if job.ranks[lease.rank].exited is None
    ]
    return end_ranks(job, exits) if exits else []


def _conclude(
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
    if stop_reason in PUT_BACK_REASONS:
        return _put_back(job, "preempted", stop_reason)
    if BUDGET in reasons:
        return _out_of_budget(job, ended)
    if decisive is not None and decisive.reason == "stopped":
        return _put_back(job, "preempted", "node_stopping")
    if decisive is not None and decisive.reason == "declined":
        if job.declines + 1 < DECLINES_MAX:
            return _put_back(job, "stopped", "declined")
        return _finish(job, ended, "failed", decisive, "declined", decisive.message)
    lost = decisive is not None and decisive.reason in LOST_REASONS
    if decisive is None:
        return _finish(job, ended, "succeeded", ended[0], "exited", "")
    spared = decisive.reason == DEVICE_FAILED and job.device_failures < DEVICE_FAILURES_MAX
    if spared or job.retries_used < job.spec.retries:
        message = decisive.message if lost else ""
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
