"""What follows from what happens to nodes, and from time passing?

Facts of inventory become node images of our own journal; a new boot, a fence or a removal proves
that nothing of before runs; a drain past its deadline stops work; contact lost for longer than a
job allows declares its attempt lost, without freeing any device. It does not judge liveness.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.journal import (
    JobFact,
    JobIdsForgotten,
    JobsWoken,
    NodeForgotten,
    NodeImaged,
    RankReleased,
    StopRequested,
)
from penstock_contracts.nodes import (
    NO_NEW_WORK,
    NodeCordoned,
    NodeDescription,
    NodeFact,
    NodeFenced,
    NodeLivenessChanged,
    NodeRegistered,
    NodeRemoved,
    NodeUncordoned,
)
from penstock_scheduler.core.events import Ticked
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.money.paying import decide_payers
from penstock_scheduler.core.queue import heads, upkeep
from penstock_scheduler.core.queue.starts import decide_said
from penstock_scheduler.core.remembering import forget_before_ms
from penstock_scheduler.core.reports import lose_ranks
from penstock_scheduler.core.requests import decide_impossible
from penstock_scheduler.core.resting import nodes as resting
from penstock_scheduler.core.state import Job, Lease, may_stop
from penstock_scheduler.core.telling.demand import decide_demand

DISCONNECT_MARGIN_NS = 5_000_000_000
"""Between the instant by which a reaper has ended a disconnected attempt and our saying so."""


def decide_node(state: State, fact: NodeFact, now_ns: int) -> list[JobFact]:
    """Facts that one fact of inventory causes."""
    if isinstance(fact, NodeRegistered):
        return _registered(state, fact.description, now_ns)
    node = state.nodes.get(fact.node)
    if node is None:
        return []
    image = node.image
    if isinstance(fact, NodeLivenessChanged):
        return [msgspec.structs.replace(image, liveness=fact.liveness)]
    if isinstance(fact, NodeCordoned):
        changed = msgspec.structs.replace(
            image, cordoned=True, draining=fact.drain, drain_deadline_ns=fact.deadline_ns
        )
        return [changed]
    if isinstance(fact, NodeUncordoned):
        changed = msgspec.structs.replace(
            image, cordoned=False, draining=False, drain_deadline_ns=None
        )
        return [changed]
    if isinstance(fact, NodeFenced):
        return _vacate(state, fact.node, now_ns, "fenced", "its node was fenced by an operator")
    if isinstance(fact, NodeRemoved):
        gone = _vacate(state, fact.node, now_ns, "node_removed", "its node was removed")
        return [*gone, NodeForgotten(fact.node)]
    return []


def _registered(state: State, description: NodeDescription, now_ns: int) -> list[JobFact]:
    old = state.nodes.get(description.node)
    facts: list[JobFact] = []
    if old is not None and old.image.boot_id != description.boot_id:
        facts += _vacate(state, description.node, now_ns, "new_boot", "its host was rebooted")
    image = image_of(description, old.image if old is not None else None)
    if old is None or old.image != image:
        facts.append(image)
    return facts


def image_of(description: NodeDescription, before: NodeImaged | None) -> NodeImaged:
    """The image a description gives; liveness and cordon stay as they were."""
    image = NodeImaged(
        node=description.node,
        boot_id=description.boot_id,
        cpu_milli=description.cpu_milli,
        memory_mib=description.memory_mib,
        devices=tuple((d.uuid, d.model, d.memory_mib) for d in description.devices),
        unhealthy=tuple(d.uuid for d in description.devices if not d.healthy),
        labels=description.labels,
        address=description.advertise_address,
        links=_links_of(description),
        offers=tuple(sorted(description.offers)),
        closed=description.facts.get(NO_NEW_WORK, ""),
    )
    if before is None:
        return image
    return msgspec.structs.replace(
        image,
        liveness=before.liveness,
        cordoned=before.cordoned,
        draining=before.draining,
        drain_deadline_ns=before.drain_deadline_ns,
        refusals=before.refusals,
        refused_ns=before.refused_ns,
        resting=before.resting,
        failing=before.failing,
    )


def _links_of(description: NodeDescription) -> tuple[str, ...]:
    links = tuple(device.link_domain for device in description.devices)
    return links if any(links) else ()


def _vacate(state: State, name: str, now_ns: int, evidence: str, message: str) -> list[JobFact]:
    """Nothing of before runs on the node: its leases end, the attempts that had not are lost."""
    node = state.nodes[name]
    leases = [state.leases[lease_id] for lease_id in sorted(node.leases)]
    facts: list[JobFact] = [
        RankReleased(lease.job_id, lease.attempt, lease.rank, None, evidence) for lease in leases
    ]
    for job, held in _by_job(state, leases):
        facts += lose_ranks(job, held, now_ns // 1_000_000, message)
    return facts


def _by_job(state: State, leases: list[Lease]) -> list[tuple[Job, list[Lease]]]:
    """The leases of jobs' present attempts, grouped by job."""
    groups: dict[str, list[Lease]] = {}
    for lease in leases:
        job = state.jobs.get(lease.job_id)
        if job is not None and job.attempt == lease.attempt:
            groups.setdefault(lease.job_id, []).append(lease)
    return [(state.jobs[job_id], held) for job_id, held in groups.items()]


def decide_tick(state: State, tick: Ticked, now_ns: int) -> list[JobFact]:
    """What time alone causes: overdue drains, lost contact, impossible jobs, forgotten ids."""
    facts: list[JobFact] = []
    for name in sorted(state.nodes):
        facts += resting.rested(state.nodes[name], state.jobs, now_ns)
        image = state.nodes[name].image
        if image.drain_deadline_ns is not None and now_ns >= image.drain_deadline_ns:
            facts += _stop_all_on(state, name)
    facts += _lost_contact(state, tick, now_ns)
    if woken := state.resting.due(now_ns):
        facts.append(JobsWoken(woken))
    facts += decide_said(state, now_ns)
    facts += decide_payers(state, now_ns)
    facts += decide_impossible(state, now_ns)
    facts += heads.decide_passed(state, now_ns)
    facts += decide_demand(state, now_ns)
    facts += upkeep.decide(state, facts, now_ns)
    before_ms = forget_before_ms(state, now_ns)
    if before_ms is not None:
        facts.append(JobIdsForgotten(before_ms))
    return facts


def _stop_all_on(state: State, name: str) -> list[JobFact]:
    leases = [state.leases[lease_id] for lease_id in sorted(state.nodes[name].leases)]
    return [
        StopRequested(job.spec.job_id, job.attempt, "drained")
        for job, _ in _by_job(state, leases)
        if may_stop(job)
    ]


def _lost_contact(state: State, tick: Ticked, now_ns: int) -> list[JobFact]:
    """A lease whose order had not gone out when silence was measured is not overdue: its node holds
    it from when it is told."""
    overdue = [
        lease
        for lease in state.leases.values()
        if lease.spec.disconnect_s is not None
        and lease.lease_seq <= tick.told_seq
        and tick.silence_ns.get(lease.node, 0)
        > lease.spec.disconnect_s * 1_000_000_000 + DISCONNECT_MARGIN_NS
    ]
    facts: list[JobFact] = []
    for job, held in _by_job(state, overdue):
        facts += lose_ranks(
            job, held, now_ns // 1_000_000, "contact lost for longer than disconnect_s"
        )
    return facts
