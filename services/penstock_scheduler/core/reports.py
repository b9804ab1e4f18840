"""What follows from what an agent reports?

Each report names a lease; one that does not match the present holder changes nothing, so a zombie
or a repeat is harmless. When the last rank of an attempt has ended, the attempt is concluded. It
does not know how reports travel.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock_contracts.jobs import PLACED, RUNNING, SUCCEEDED
from penstock_contracts.journal import (
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
from penstock_scheduler.core.conclusions import DEVICE_FAILED, conclude
from penstock_scheduler.core.events import NodeReported
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.resting import nodes as resting
from penstock_scheduler.core.state import Job, Lease, is_failure


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
        return [*end_ranks(job, [exit_of(item)]), *_rest_of(state, job, lease, item, now_ns)]
    if isinstance(item, Preparing):
        return _preparing(job, item)
    if isinstance(item, Prepared | Started):
        node = state.nodes.get(lease.node)
        well = resting.accepted(node, lease) if node is not None else []
        steps = _started(job, item) if isinstance(item, Started) else _prepared(job, item)
        return [*steps, *well]
    return []


def _rest_of(state: State, job: Job, lease: Lease, item: Exited, now_ns: int) -> Sequence[JobFact]:
    """A node whose device has failed is given nothing for a moment: which device that is, it says
    on another way, and nobody is to be sent to it before that has arrived. Nor is one on which
    everybody's work fails."""
    node = state.nodes.get(lease.node)
    if node is None:
        return ()
    if item.reason == DEVICE_FAILED:
        return resting.refused(node, now_ns)
    return resting.ended(node, job, lease, exit_of(item), state.failing, now_ns)


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
        end = conclude(job, ended, first_failure, stop_reason)
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
