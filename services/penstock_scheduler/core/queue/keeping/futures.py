"""Where would a job fit if others had gone?

The fleet as it would be, and an exact placement in it: the same rules as for what is free now, with
nothing counted twice. Nothing changes. It does not know who should go, nor when.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from penstock_scheduler.core.packing.fleet import Fleet
from penstock_scheduler.core.packing.layout import CPU, FREE, MEMORY, UNITS, Array
from penstock_scheduler.core.placing.domains import Places, Search
from penstock_scheduler.core.placing.gangs import place_together, search_of
from penstock_scheduler.core.placing.placement import Placed
from penstock_scheduler.core.placing.wishes import closed_columns
from penstock_scheduler.core.queue.keeping.kept import Kept, free_of, held_by
from penstock_scheduler.core.shapes import Shape, apart_of
from penstock_scheduler.core.state import LeaseId

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State

FREE_BITS = 18
"""What is free of a node, in thousandths of a GPU or a core, is below this power of two."""


class Future:
    """The fleet as if the leases `gone` had ended, and what is kept for the jobs `lifted` were not
    kept. `at_ms`: the instant for which reservations count; None = now."""

    def __init__(
        self,
        state: State,
        gone: Collection[LeaseId] = (),
        lifted: Collection[str] = (),
        at_ms: int | None = None,
    ) -> None:
        self.fleet = state.capacity.packer.fleet.copy()
        self._state = state
        self._at_ms = at_ms
        self._gone = gone
        names = {state.leases[lease_id].node: None for lease_id in gone}
        for job_id in lifted:
            place = state.places.get(job_id)
            names |= dict.fromkeys(place.nodes if place is not None else ())
        for name in names:
            room = room_if(state, name, gone, lifted)
            if room is not None:
                write(self.fleet, name, room)

    def place(self, shape: Shape, costs: Array | None = None) -> Placed | None:
        """The first of its alternatives that would fit, and where: `costs`, by column, are what it
        comes to there."""
        return place_in(self.fleet, shape, self._state, self._gone, self._at_ms, costs)


def room_if(
    state: State, name: str, gone: Collection[LeaseId], lifted: Collection[str]
) -> Kept | None:
    """What would be free of a node; None = there is no such node."""
    node = state.nodes.get(name)
    if node is None:
        return None
    room = free_of(node)
    for lease_id in node.leases:
        if lease_id in gone:
            room.add(held_by(state.leases[lease_id], node))
    kept = state.places.kept_on(node, lifted, gone)
    if kept is not None:
        room.settle(kept)
    return room


def write(fleet: Fleet, name: str, room: Kept) -> None:
    """The node has this room in a fleet that is only thought of."""
    column = fleet.columns[name]
    fleet.nodes[CPU, column] = room.cpu_milli
    fleet.nodes[MEMORY, column] = room.memory_mib
    fleet.nodes[UNITS, column] = room.units
    fleet.devices[FREE, column, : len(room.devices)] = room.devices


def place_in(
    fleet: Fleet,
    shape: Shape,
    state: State,
    gone: Collection[LeaseId] = (),
    at_ms: int | None = None,
    costs: Array | None = None,
) -> Placed | None:
    """Where the job would go in that fleet: where it costs least, then least is left over."""
    for alternative, option in enumerate((shape, *shape.alternatives)):
        closed = _closed(fleet, option, state, gone, at_ms)
        search = search_of(option, fleet, state.capacity.topology, closed)
        ranks = place_together(search, state.nodes, partial(_worth, search, costs))
        if ranks is not None:
            return Placed(alternative, ranks)
    return None


def _worth(search: Search, costs: Array | None, places: Places) -> Array:
    free = places.free_milli if search.pack.gpus else search.fleet.nodes[CPU, places.columns]
    worth: Array = -free
    if costs is not None:
        worth = worth - (costs[places.columns] << FREE_BITS)
    return worth


def _closed(
    fleet: Fleet, shape: Shape, state: State, gone: Collection[LeaseId], at_ms: int | None
) -> Array:
    capacity = state.capacity
    alone = msgspec.structs.replace(shape, apart="") if shape.apart else shape
    closed = closed_columns(alone, state.nodes, fleet, capacity.topology)
    closed = state.reservations.closing(closed, alone, fleet, capacity.topology, at_ms)
    if not shape.apart:
        return closed
    closed = np.zeros(fleet.count, np.bool_) if not closed.shape[0] else closed.copy()
    for name in _held_apart(shape.apart, state, gone):
        column = fleet.columns.get(name)
        if column is not None:
            closed[column] = True
    return closed


def _held_apart(word: str, state: State, gone: Collection[LeaseId]) -> Iterable[str]:
    """Nodes on which others that it keeps apart from would still be."""
    for name, node in state.nodes.items():
        count = node.apart.get(word, 0)
        if count and gone:
            leases = (state.leases[one] for one in node.leases if one in gone)
            count -= sum(apart_of(lease.spec, lease.tenant) == word for lease in leases)
        if count > 0:
            yield name
