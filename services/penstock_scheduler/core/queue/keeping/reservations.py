"""Which nodes are set aside, when and for whom?

What may still run there when the time has come is not placed there before; what does so all the
same is asked to end, ahead of the time by its grace. A time for nobody is a maintenance window. It
does not know what else keeps a job from a node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import JobFact, StopRequested
from penstock_contracts.queue_policy import Reservation
from penstock_scheduler.core.packing.fleet import Fleet
from penstock_scheduler.core.packing.layout import Array
from penstock_scheduler.core.placing.topology import Topology, suits
from penstock_scheduler.core.queue.keeping.bounds import END_MARGIN_S
from penstock_scheduler.core.shapes import Shape
from penstock_scheduler.core.state import Job, Node, may_stop

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State

RESERVED = "reserved"
"""The reason with which attempts are asked to end."""
UNBOUNDED_AHEAD_MS = 4 * 3_600_000
"""What states no limit is not placed on nodes that are set aside within this time."""


class Reservations:
    """Those of the policy. `now_ms`: the instant of which is asked where none is given; `look`
    tells it."""

    def __init__(self, reservations: Sequence[Reservation] = ()) -> None:
        self._all = tuple(reservations)
        self._tenants = frozenset(one.tenant for one in self._all if one.tenant)
        self.now_ms = 0

    def __bool__(self) -> bool:
        return bool(self._all)

    def __iter__(self) -> Iterator[Reservation]:
        return iter(self._all)

    def look(self, now_ms: int) -> bool:
        """Time has passed; True when some nodes are no longer set aside since it was told last."""
        before, self.now_ms = self.now_ms, now_ms
        return any(before < one.end_ms <= now_ms for one in self._all)

    def owner_of(self, tenant: str, spec: JobSpec) -> str:
        """Under which name its shape stands, as far as that matters to any of them."""
        return f"{tenant}/{spec.project}" if tenant in self._tenants else ""

    def closing(
        self,
        closed: Array,
        shape: Shape,
        fleet: Fleet,
        topology: Topology,
        at_ms: int | None = None,
    ) -> Array:
        """Columns of a fleet that are closed to a job of this shape, and those on which, for what
        is set aside, it must not begin at that instant."""
        instant = self.now_ms if at_ms is None else at_ms
        for one in self._all:
            if keeps_out(one, shape, instant):
                columns = _columns(one, fleet, topology)
                closed = closed | columns if closed.shape[0] else columns
        return closed

    def turns(self, shape: Shape, from_ms: int) -> list[int]:
        """The instants behind `from_ms` at which it changes what is closed to the shape, in
        order."""
        found = set()
        for one in self._all:
            if one.end_ms > from_ms and not is_for(one, shape.owner):
                found |= {closes_ms(one, shape), one.end_ms}
        return sorted(instant for instant in found if instant > from_ms)


def is_for(one: Reservation, owner: str) -> bool:
    """Whether the nodes are set aside for whoever stands under that name."""
    tenant, _, project = owner.partition("/")
    return bool(one.tenant) and one.tenant == tenant and one.project in ("", project)


def closes_ms(one: Reservation, shape: Shape) -> int:
    """From then on nothing of the shape may begin there: it might run into the time."""
    return one.start_ms - (1000 * shape.bound_s or UNBOUNDED_AHEAD_MS)


def keeps_out(one: Reservation, shape: Shape, at_ms: int) -> bool:
    """Whether a job of the shape must not begin there at that instant."""
    return closes_ms(one, shape) < at_ms < one.end_ms and not is_for(one, shape.owner)


def holds(one: Reservation, node: Node) -> bool:
    """Whether the node is one of those that are set aside."""
    image = node.image
    if one.nodes:
        return image.node in one.nodes
    return suits(image, tuple(sorted(one.node_labels.items())), ())


def _columns(one: Reservation, fleet: Fleet, topology: Topology) -> Array:
    if not one.nodes:
        lacking = topology.lacking(tuple(sorted(one.node_labels.items())), (), fleet)
        return ~lacking[: fleet.count]
    found = np.zeros(fleet.count, np.bool_)
    for name in one.nodes:
        column = fleet.columns.get(name)
        if column is not None:
            found[column] = True
    return found


def in_the_way(state: State, node: Node, shape: Shape, now_ms: int) -> Reservation | None:
    """Why a job of this shape must not begin on the node now; None = no reservation keeps it."""
    for one in state.reservations:
        if keeps_out(one, shape, now_ms) and holds(one, node):
            return one
    return None


def decide(state: State, now_ns: int) -> list[JobFact]:
    """Asks that to end which would run into a time for which its node is set aside."""
    now_ms = now_ns // 1_000_000
    facts: list[JobFact] = []
    asked: set[str] = set()
    for one in state.reservations:
        if now_ms >= one.end_ms:
            continue
        for job in _jobs_on(state, one, now_ms):
            if job.spec.job_id not in asked:
                asked.add(job.spec.job_id)
                facts.append(StopRequested(job.spec.job_id, job.attempt, RESERVED))
    return facts


def _jobs_on(state: State, one: Reservation, now_ms: int) -> Iterator[Job]:
    for name in sorted(state.nodes):
        node = state.nodes[name]
        if not node.leases or not holds(one, node):
            continue
        for lease_id in sorted(node.leases):
            lease = state.leases[lease_id]
            job = state.jobs.get(lease.job_id)
            if job is None or job.attempt != lease.attempt or not may_stop(job):
                continue
            ahead_ms = 1000 * (job.spec.grace_s + END_MARGIN_S)
            owner = state.reservations.owner_of(job.tenant, job.spec)
            if now_ms >= one.start_ms - ahead_ms and not is_for(one, owner):
                yield job
