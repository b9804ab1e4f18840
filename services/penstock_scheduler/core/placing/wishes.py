"""Which nodes must a job not use, and could it ever run?

Nodes of another pool, that have refused it, lack a label or an offer it demands, or hold a job it
keeps apart from; and whether the registered nodes, with nothing on them, could hold
what it demands. It does not know what is free now.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from penstock_scheduler.core.packing.fleet import Fleet
from penstock_scheduler.core.packing.layout import Array
from penstock_scheduler.core.packing.packer import NOBODY
from penstock_scheduler.core.placing.capacity import pack_shape
from penstock_scheduler.core.placing.domains import Search, find_places
from penstock_scheduler.core.placing.topology import Topology
from penstock_scheduler.core.state import Node, Shape


def closed_columns(shape: Shape, nodes: dict[str, Node], fleet: Fleet, topology: Topology) -> Array:
    """The columns of a fleet that a job of this shape must not use now, as the packer takes them;
    costs nothing without a wish."""
    wishes = shape.avoid or shape.node_labels or shape.needs or shape.apart
    if not wishes and (shape.leaf is None or topology.is_whole(shape.leaf.pool)):
        return NOBODY
    closed = _unfit(shape, fleet, topology)
    _close(closed, shape.avoid, fleet)
    if shape.apart:
        _close(closed, [name for name, node in nodes.items() if shape.apart in node.apart], fleet)
    return closed


def is_picky(shape: Shape) -> bool:
    """Whether it demands more than room on whatever nodes."""
    return bool(shape.node_labels or shape.needs or shape.near_required or shape.spread)


def could_ever(shape: Shape, topology: Topology, without: Iterable[str] = ()) -> bool:
    """Whether the nodes, when empty and all their devices healthy, could hold a job of this shape,
    alternatives aside; those named are left out. What keeps it apart from others does not count:
    they end."""
    fleet = topology.empty()
    closed = _unfit(shape, fleet, topology)
    _close(closed, without, fleet)
    layout = topology.layout(fleet)
    return find_places(Search(shape, pack_shape(shape), fleet, layout, closed)) is not None


def _unfit(shape: Shape, fleet: Fleet, topology: Topology) -> Array:
    """Columns whose nodes lack a label or an offer, or are in another pool."""
    if shape.node_labels or shape.needs:
        closed = topology.lacking(shape.node_labels, shape.needs, fleet).copy()
    else:
        closed = np.zeros(fleet.count, np.bool_)
    if shape.leaf is not None and not topology.is_whole(shape.leaf.pool):
        closed |= topology.outside(shape.leaf.pool, fleet)
    return closed


def _close(closed: Array, names: Iterable[str], fleet: Fleet) -> None:
    for name in names:
        column = fleet.columns.get(name)
        if column is not None:
            closed[column] = True
