"""Why does a rank of this shape fit nowhere, and what would do?

Every node with the first thing it lacks, counted, and the node that lacks least: for people who ask
what it would take. It does not know when that will change.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock_scheduler.core.packing.layout import (
    CPU,
    FREE,
    KIND,
    MEMORY,
    NO_DEVICE,
    OPEN,
    ORDER,
    UNITS,
    Array,
)
from penstock_scheduler.core.packing.packer import NOBODY, Packer
from penstock_scheduler.core.packing.shapes import PackShape, row_key
from penstock_scheduler.core.packing.workload import may_use


class Counts(NamedTuple):
    """Numbers of nodes. Each node counts once, for the first that is true of it: closed to all;
    closed to this shape; too few devices of the models and memory asked for; those not free enough;
    too little CPU, memory, or units; nothing in the way."""

    closed: int
    left_out: int
    devices: int
    busy: int
    cpu: int
    memory: int
    units: int
    able: int


class Nearest(NamedTuple):
    """The node that lacks least, and what: devices before CPU before memory before units. `nodes`:
    lack as few devices. `most_free`: milli-GPU on one of its devices that the shape may use."""

    node: str
    nodes: int
    devices: int
    cpu_milli: int
    memory_mib: int
    units: int
    most_free: int


class Free(NamedTuple):
    """On the nodes that are not closed: devices that may be used, those of them that are free
    enough, the most of these on one node, and milli-CPU."""

    nodes: int
    usable: int
    free: int
    most: int
    cpu_milli: int


class Obstacles(NamedTuple):
    """`nearest`: of the nodes on which a rank does not fit; None when none of them has enough
    devices that may be used."""

    counts: Counts
    free: Free
    nearest: Nearest | None


def obstacles(packer: Packer, shape: PackShape, closed: Array = NOBODY) -> Obstacles:
    """What is in the way on each node now."""
    fleet = packer.fleet
    columns = np.array(sorted(fleet.columns.values()), np.int64)
    nodes, kind = fleet.nodes[:, columns], fleet.devices[KIND, columns]
    key = row_key(shape)
    allowed = np.array([may_use(key, one) for one in fleet.kinds] or [False], np.bool_)
    may = (kind != NO_DEVICE) & allowed[kind]
    free = np.where(may, fleet.devices[FREE, columns], 0)
    enough = (may & (free >= key.gpu_milli)).sum(axis=1)
    shut = nodes[OPEN] == 0
    left_out = closed[columns] if closed.size else np.zeros(len(columns), np.bool_)
    has_devices = may.sum(axis=1) >= key.gpus
    lacks = (
        shut,
        left_out,
        ~has_devices,
        enough < key.gpus,
        nodes[CPU] < shape.cpu_milli,
        nodes[MEMORY] < shape.memory_mib,
        nodes[UNITS] < shape.units,
        np.ones(len(columns), np.bool_),
    )
    first = np.argmax(np.stack(lacks), axis=0)
    counts = Counts._make(np.bincount(first, minlength=len(lacks)).tolist())
    usable = ~shut & ~left_out
    all_free = Free(
        int(usable.sum()),
        int(may[usable].sum()),
        int(enough[usable].sum()),
        int(enough[usable].max(initial=0)),
        int(nodes[CPU, usable].sum()),
    )
    which = np.flatnonzero(usable & has_devices & (first < len(lacks) - 1))
    names = [fleet.names[column] for column in columns.tolist()]
    return Obstacles(counts, all_free, _nearest(shape, names, nodes, enough, free, which))


def _nearest(
    shape: PackShape, names: list[str], nodes: Array, enough: Array, free: Array, which: Array
) -> Nearest | None:
    if not which.shape[0]:
        return None
    missing = [
        np.maximum(0, shape.gpus - enough[which]),
        np.maximum(0, shape.cpu_milli - nodes[CPU, which]),
        np.maximum(0, shape.memory_mib - nodes[MEMORY, which]),
        np.maximum(0, shape.units - nodes[UNITS, which]),
    ]
    best = int(np.lexsort((nodes[ORDER, which], *reversed(missing)))[0])
    devices, cpu_milli, memory_mib, units = (int(lack[best]) for lack in missing)
    return Nearest(
        names[int(which[best])],
        int((missing[0] == devices).sum()),
        devices,
        cpu_milli,
        memory_mib,
        units,
        int(free[which[best]].max(initial=0)),
    )
