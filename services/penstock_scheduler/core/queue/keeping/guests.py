"""Who may use what is kept for another until it is wanted?

A job that states its time, and will surely have ended by then. What overstays all the same is asked
to end. It does not know who is next, nor when a place is wanted.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from penstock_contracts.journal import JobFact, RankPlacement, StopRequested
from penstock_scheduler.core.placing.gangs import is_gang
from penstock_scheduler.core.placing.placement import (
    Placed,
    closed_to,
    devices_for_rank,
    usable_devices,
)
from penstock_scheduler.core.queue.keeping.bounds import END_MARGIN_S
from penstock_scheduler.core.queue.keeping.futures import Future, room_if
from penstock_scheduler.core.queue.keeping.kept import Kept
from penstock_scheduler.core.queue.keeping.places import Place, demand_of
from penstock_scheduler.core.queue.keeping.reservations import RESERVED
from penstock_scheduler.core.shapes import Shape, choices_of
from penstock_scheduler.core.state import Lease, Node, may_stop

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State


def place_short(state: State, shape: Shape, now_ns: int) -> Placed | None:
    """A place for a job of this shape, also in what is kept for others, where it surely ends
    before they are to start."""
    if not state.places:
        return None
    for alternative, option in enumerate(choices_of(shape)):
        if not option.bound_s:
            continue
        until_ms = now_ns // 1_000_000 + 1000 * option.bound_s
        lifted = _wanted_later(state, until_ms)
        names = _names(state, option, lifted)
        if not names:
            continue
        if is_gang(option):
            placed = Future(state, (), lifted).place(option)
        else:
            placed = _best(state, option, names, lifted)
        if placed is not None:
            return placed._replace(alternative=alternative)
    return None


def _wanted_later(state: State, until_ms: int) -> dict[str, None]:
    return {place.fact.job_id: None for place in state.places if place.fact.at_ms >= until_ms}


def _names(state: State, option: Shape, lifted: Collection[str]) -> list[str]:
    """Nodes on which more would be free than for others, and one rank may fit."""
    found: dict[str, None] = {}
    for job_id in lifted:
        place = state.places.get(job_id)
        found |= dict.fromkeys(place.nodes if place is not None else ())
    nodes = state.nodes
    return [name for name in sorted(found) if name in nodes and nodes[name].may_hold(option)]


def _best(state: State, option: Shape, names: list[str], lifted: Collection[str]) -> Placed | None:
    """Where least would be left over."""
    closed = closed_to(option, state.nodes, state.capacity)
    columns = state.capacity.packer.fleet.columns
    found: tuple[int, int, str, tuple[str, ...]] | None = None
    for name in names:
        room = room_if(state, name, (), lifted)
        if room is None or (closed.shape[0] and closed[columns[name]]):
            continue
        devices = _devices(option, state.nodes[name], room)
        if devices is not None:
            uuids = tuple(state.nodes[name].image.devices[index][0] for index in devices)
            one = (sum(room.devices), room.cpu_milli, name, uuids)
            found = one if found is None else min(found, one)
    if found is None:
        return None
    return Placed(0, (RankPlacement(0, found[2], found[3], 0),))


def _devices(option: Shape, node: Node, room: Kept) -> list[int] | None:
    if (
        room.cpu_milli < option.cpu_milli
        or room.memory_mib < option.memory_mib
        or room.units < option.order_units
    ):
        return None
    usable = usable_devices(option, node.image) if option.gpus else []
    return devices_for_rank(option, usable, room.devices)


def decide(state: State, now_ns: int) -> list[JobFact]:
    """Asks those to end for whom alone others wait, and who should have ended by now."""
    facts: dict[str, JobFact] = {}
    for place in state.places:
        for lease in _in_the_way(state, place):
            job = state.jobs.get(lease.job_id)
            if job is None or job.attempt != lease.attempt or not may_stop(job):
                continue
            ahead_ms = 1000 * (lease.spec.grace_s + END_MARGIN_S)
            if now_ns // 1_000_000 >= place.fact.at_ms - ahead_ms:
                facts[lease.job_id] = StopRequested(lease.job_id, job.attempt, RESERVED)
    return list(facts.values())


def _in_the_way(state: State, place: Place) -> list[Lease]:
    """Leases granted since it is kept, where nothing else is awaited any more."""
    found: list[Lease] = []
    for name, ranks in place.nodes.items():
        node = state.nodes.get(name)
        room = room_if(state, name, (), (place.fact.job_id,))
        if node is None or room is None:
            return []
        if room.covers(demand_of(ranks, place.shape, node)):
            continue
        for lease_id in sorted(node.leases):
            lease = state.leases[lease_id]
            if lease.lease_seq > place.seq:
                found.append(lease)
            elif place.counts_on(lease):
                return []
    return found
