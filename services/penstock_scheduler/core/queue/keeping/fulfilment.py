"""Which kept places are whole, and which have come to nothing?

Whoever has a place that is wholly free is granted it; a place on a node that takes no work any
more, or with a device that is gone or sick, is given up. It does not know how places are found.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from penstock_contracts.journal import JobFact, RankPlacement
from penstock_contracts.queue_facts import PREEMPTION, PlaceGivenUp
from penstock_scheduler.core.placing.placement import Placed
from penstock_scheduler.core.placing.topology import suits
from penstock_scheduler.core.queue.keeping.futures import room_if
from penstock_scheduler.core.queue.keeping.places import Place, demand_of
from penstock_scheduler.core.queue.keeping.reservations import in_the_way
from penstock_scheduler.core.queue.quotas.shares import ask_of
from penstock_scheduler.core.shapes import Shape
from penstock_scheduler.core.state import Node

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State

LATE_MS_MAX = 3_600_000
"""So long after its time a place is kept for which others were asked to end."""
LOOKED_AT_MAX = 64
"""So many who wait are looked at for one who has come before."""


def decide(state: State) -> list[JobFact]:
    """Gives up what has come to nothing since it was looked at last."""
    found: list[JobFact] = []
    for place in _changed(state):
        why = _why_broken(state, place)
        if why:
            found.append(PlaceGivenUp(place.fact.job_id, why))
    return found


def ready(state: State, now_ns: int) -> Iterator[tuple[str, Placed, str]]:
    """Jobs whose place is wholly free, the place, and why it was kept. The others are not looked at
    again before something changes on their nodes."""
    for place in list(_changed(state)):
        if _is_whole(state, place, now_ns // 1_000_000):
            yield place.fact.job_id, _placed(place), place.fact.cause
        else:
            del state.places.changed[place.fact.job_id]


def is_overtaken(state: State, job_id: str, now_ns: int) -> bool:
    """Whether somebody for whom no place is kept yet has come before it in line meanwhile, and no
    start was promised: then it takes its turn. Where short ones go first, being shorter is not
    enough: its place would be taken again and again."""
    place, job = state.places.get(job_id), state.jobs[job_id]
    leaf = state.shape_of(job).leaf
    if place is None or leaf is None or place.fact.sure_ms is not None:
        return False
    strictly = state.rules.pool_named(leaf.pool).order != "tiered"
    is_covered = state.shares.entitled(leaf, ask_of(place.shape))
    for other_id, shape in islice(state.line.in_order(leaf.pool, now_ns), LOOKED_AT_MAX):
        if other_id == job_id:
            break
        if state.places.of(other_id) is None:
            other = state.jobs[other_id].spec
            if strictly or other.priority > job.spec.priority or other.deadline_ms is not None:
                return True
            if not is_covered and shape.leaf and state.shares.entitled(shape.leaf, ask_of(shape)):
                return True
    return False


def decide_late(state: State, now_ns: int) -> list[JobFact]:
    """Gives up what those who were asked to end have not left in time."""
    now_ms = now_ns // 1_000_000
    return [
        PlaceGivenUp(place.fact.job_id, "who should leave it has not left")
        for place in state.places
        if place.fact.cause == PREEMPTION and now_ms > place.fact.at_ms + LATE_MS_MAX
    ]


def _changed(state: State) -> Iterator[Place]:
    """In the order in which they were kept, wherever that is asked."""
    changed = state.places.changed
    if not changed:
        return iter(())
    return (place for place in state.places if place.fact.job_id in changed)


def _why_broken(state: State, place: Place) -> str:
    shape, job = place.shape, state.jobs[place.fact.job_id]
    pool = state.shape_of(job).leaf
    for name, ranks in place.nodes.items():
        node = state.nodes.get(name)
        if node is None or not node.open:
            return f"{name} takes no work"
        if pool is not None and node.pool != pool.pool:
            return f"{name} is in another pool"
        if not suits(node.image, shape.node_labels, shape.needs):
            return f"{name} no longer has what the job demands"
        for rank in ranks:
            if not set(rank.devices) <= _well(node):
                return f"a device on {name} is not to be used"
        if len(state.places) > 1 and _is_overbooked(state, place, node):
            return f"another place is kept on {name}, and nothing is awaited there any more"
    return ""


def _is_overbooked(state: State, place: Place, node: Node) -> bool:
    """Whether places that were kept before leave it no room there even once all leases are over,
    as what it counted on is gone: both would wait for each other."""
    name = node.image.node
    if any(place.counts_on(state.leases[one]) for one in node.leases):
        return False
    known = [one.fact.job_id for one in state.places]
    later = known[known.index(place.fact.job_id) :]
    room = room_if(state, name, node.leases, later)
    return room is not None and not room.covers(demand_of(place.nodes[name], place.shape, node))


def _well(node: Node) -> set[str]:
    return {uuid for uuid, _, _ in node.image.devices} - set(node.image.unhealthy)


def _is_whole(state: State, place: Place, now_ms: int) -> bool:
    shape = state.shape_of(state.jobs[place.fact.job_id])
    option = (shape, *shape.alternatives)[place.fact.alternative]
    first = (place.short,) if place.short in place.nodes else ()
    for name in (*first, *place.nodes):
        if not _is_free(state, place, option, name, now_ms):
            place.short = name
            return False
    return True


def _is_free(state: State, place: Place, option: Shape, name: str, now_ms: int) -> bool:
    node = state.nodes.get(name)
    if node is None or not node.schedulable or (option.apart and option.apart in node.apart):
        return False
    room = room_if(state, name, (), (place.fact.job_id,))
    if room is None or not room.covers(demand_of(place.nodes[name], place.shape, node)):
        return False
    return not state.reservations or in_the_way(state, node, option, now_ms) is None


def _placed(place: Place) -> Placed:
    taken: dict[str, int] = {}
    ranks: list[RankPlacement] = []
    for rank in place.fact.ranks:
        local = taken.get(rank.node, 0)
        taken[rank.node] = local + 1
        ranks.append(RankPlacement(rank.rank, rank.node, rank.devices, local))
    return Placed(place.fact.alternative, tuple(ranks))
