"""What fits into room that is only thought of?

Ranks on one node, as if others had gone from there. It does not know who should go, nor what is
best.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import msgspec

from penstock_contracts.queue_facts import KeptRank
from penstock_scheduler.core.placing.placement import ranks_on
from penstock_scheduler.core.queue.keeping.futures import room_if
from penstock_scheduler.core.queue.keeping.kept import Kept
from penstock_scheduler.core.queue.keeping.places import demand_of
from penstock_scheduler.core.shapes import Shape, apart_of
from penstock_scheduler.core.state import LeaseId, Node

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State


def fitting(shape: Shape, node: Node, room: Kept, most: int) -> list[list[int]]:
    """The devices of the ranks that fit into that room, at most so many."""
    thought = msgspec.structs.replace(
        node,
        free=room.devices,
        cpu_free=room.cpu_milli,
        memory_free=room.memory_mib,
        order_units_free=room.units,
    )
    return ranks_on(shape, thought, most)


def has_room(
    state: State,
    shape: Shape,
    name: str,
    ranks: Iterable[KeptRank],
    gone: Collection[LeaseId],
    lifted: Collection[str],
) -> bool:
    """Whether just these ranks fit on the node when those leases have gone, and nothing is kept for
    the jobs `lifted`."""
    node, room = state.nodes[name], room_if(state, name, gone, lifted)
    if room is None or is_apart(state, shape, name, gone):
        return False
    return room.covers(demand_of(ranks, shape, node))


def is_apart(state: State, shape: Shape, name: str, gone: Collection[LeaseId]) -> bool:
    """Whether something stays there with which it must not share a node."""
    word, node = shape.apart, state.nodes[name]
    if not word or word not in node.apart:
        return False
    stay = (state.leases[one] for one in node.leases if one not in gone)
    return any(apart_of(lease.spec, lease.tenant) == word for lease in stay)
