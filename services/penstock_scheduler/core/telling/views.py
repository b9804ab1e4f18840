"""What does the scheduler show, and is its state sound?

Answers to queries, and the audit of invariants, from committed state. It does not know who asks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from penstock_contracts.jobs import GPU_MILLI_WHOLE, QUEUED
from penstock_contracts.queries import (
    DeviceUse,
    Finding,
    JobsQuery,
    JobsView,
    JobView,
    NodesUseView,
    NodeUse,
    RankView,
    SchedulerAudit,
    jobs_page,
)
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.queue.quotas.counting import miscounted
from penstock_scheduler.core.state import Job, Node

PAGE_DEVICES_MAX = 4_000
"""Nodes and devices in one answer: about half a megabyte."""


def job_view(job: Job) -> JobView:
    """A live job as it stands."""
    ranks = tuple(
        RankView(
            rank=index,
            node=rank.node,
            devices=rank.uuids,
            exit_code=rank.exited.exit_code if rank.exited else None,
            signal=rank.exited.signal if rank.exited else None,
            reason=rank.exited.reason if rank.exited else "",
            outputs=rank.exited.outputs if rank.exited else (),
        )
        for index, rank in enumerate(job.ranks)
    )
    return JobView(
        job_id=job.spec.job_id,
        tenant=job.tenant,
        state="stopping" if job.stop_reason and job.state != QUEUED else job.state,
        attempt=job.attempt,
        spec=job.spec,
        submitted_ms=job.submitted_ns // 1_000_000,
        placed_ms=None if job.placed_ns is None else job.placed_ns // 1_000_000,
        started_ms=job.started_ms,
        ranks=ranks,
        reason=job.stop_reason,
        log_bytes=job.log_bytes,
        alternative=job.alternative,
        expected_ms=job.expected_start_ms,
        estimated_ms=job.estimated_ms,
    )


def jobs_view(state: State, query: JobsQuery) -> JobsView:
    """Live jobs, newest first, as many as one message holds."""
    return jobs_page(_chosen(state, query), query.limit)


def _chosen(state: State, query: JobsQuery) -> Iterator[JobView]:
    for job_id in sorted(state.jobs, reverse=True):
        if query.before and job_id >= query.before:
            continue
        job = state.jobs[job_id]
        if query.tenant and job.tenant != query.tenant:
            continue
        view = job_view(job)
        if not query.state or view.state == query.state:
            yield view


def nodes_view(state: State, seq: int, after: str = "") -> NodesUseView:
    """Nodes with what is free on them, by name, as many as one message holds."""
    page: list[NodeUse] = []
    room = PAGE_DEVICES_MAX
    for name in sorted(name for name in state.nodes if name > after):
        room -= 1 + len(state.nodes[name].free)
        if room < 0 and page:
            return NodesUseView(seq, tuple(page), more=True)
        page.append(_node_use(state.nodes[name]))
    return NodesUseView(seq, tuple(page))


def _node_use(node: Node) -> NodeUse:
    image = node.image
    devices = tuple(
        DeviceUse(uuid, model, node.free[i], uuid not in image.unhealthy)
        for i, (uuid, model, _) in enumerate(image.devices)
    )
    return NodeUse(
        node=image.node,
        schedulable=node.schedulable,
        liveness=image.liveness,
        cordoned=image.cordoned,
        draining=image.draining,
        cpu_milli=image.cpu_milli,
        cpu_milli_free=node.cpu_free,
        memory_mib=image.memory_mib,
        memory_mib_free=node.memory_free,
        devices=devices,
        leases=len(node.leases),
        resting="work_fails" if image.failing else "refuses" if image.refusals else "",
    )


def audit(state: State, seq: int, nodes_seq: int) -> SchedulerAudit:
    """Checks the state against itself, recomputed from leases, not from counters it keeps."""
    return SchedulerAudit(
        seq=seq,
        nodes_seq=nodes_seq,
        accepted=state.accepted,
        live=len(state.jobs),
        finished=dict(sorted(state.finished.items())),
        leases=len(state.leases),
        findings=tuple(findings(state)),
    )


def findings(state: State) -> list[Finding]:
    """Every violated invariant; empty when sound."""
    found: list[Finding] = []
    ended = sum(state.finished.values())
    if state.accepted != len(state.jobs) + ended:
        found.append(
            Finding(
                "jobs_unaccounted",
                f"{state.accepted} jobs accepted, but {len(state.jobs)} live and {ended} ended",
            )
        )
    used: dict[tuple[str, str], int] = defaultdict(int)
    for lease in state.leases.values():
        for uuid in lease.uuids:
            used[lease.node, uuid] += lease.gpu_milli
    for (node, uuid), milli in sorted(used.items()):
        if milli > GPU_MILLI_WHOLE:
            found.append(
                Finding("device_leased_twice", f"{milli} milli of {uuid} on {node} are leased")
            )
    for name, row in sorted(state.nodes.items()):
        for index, (uuid, _, _) in enumerate(row.image.devices):
            if row.free[index] != GPU_MILLI_WHOLE - used[name, uuid]:
                found.append(
                    Finding("free_miscounted", f"{uuid} on {name} shows {row.free[index]}")
                )
    for budget_id, budget in sorted(state.budgets.by_id.items()):
        if budget.held != sum(hold.open for hold in budget.holds.values()):
            found.append(Finding("budget_miscounted", f"budget {budget_id} holds {budget.held}"))
        if budget.partly_spent != sum(hold.is_partly_spent for hold in budget.holds.values()):
            found.append(Finding("budget_miscounted", f"of {budget_id} {budget.partly_spent} run"))
        if budget.stops and budget.state.spent + budget.held > budget.limit:
            over = budget.state.spent + budget.held - budget.limit
            found.append(Finding("budget_passed", f"{over} too much of {budget_id} are promised"))
    found += miscounted(state)
    for job_id, job in sorted(state.jobs.items()):
        in_line, rests = job_id in state.line, job_id in state.resting
        if (job.state == QUEUED) != (in_line or rests) or (in_line and rests):
            found.append(
                Finding("line_broken", f"job {job_id} is {job.state} but its place differs")
            )
        if job.state != QUEUED and not job.ranks:
            found.append(Finding("job_without_ranks", f"job {job_id} is {job.state} without ranks"))
    return found
