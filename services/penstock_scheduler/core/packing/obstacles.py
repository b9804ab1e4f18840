"""Why does a rank of this shape fit nowhere?

Every node with the first thing it lacks, counted: for people who ask what it would take. It does
not know when that will change.
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
    UNITS,
    Array,
)
from penstock_scheduler.core.packing.packer import NOBODY, Packer
from penstock_scheduler.core.packing.shapes import PackShape, row_key
from penstock_scheduler.core.packing.workload import may_use


class Obstacles(NamedTuple):
    """Numbers of nodes. Each node counts once, for the first that is true of it: closed to all or
    to this shape; too few devices of the models and memory asked for; those not free enough; too
    little CPU, memory, or units; nothing in the way. `devices_free`: the most on one open node."""

    closed: int
    devices: int
    busy: int
    cpu: int
    memory: int
    units: int
    fits: int
    devices_free: int


def obstacles(packer: Packer, shape: PackShape, closed: Array = NOBODY) -> Obstacles:
    """What is in the way on each node now."""
    fleet = packer.fleet
    columns = np.array(sorted(fleet.columns.values()), np.int64)
    nodes, kind = fleet.nodes[:, columns], fleet.devices[KIND, columns]
    key = row_key(shape)
    allowed = np.array([may_use(key, one) for one in fleet.kinds] or [False], np.bool_)
    may = (kind != NO_DEVICE) & allowed[kind]
    free = (may & (fleet.devices[FREE, columns] >= key.gpu_milli)).sum(axis=1)
    shut = nodes[OPEN] == 0
    if closed.size:
        shut |= closed[columns]
    lacks = (
        shut,
        may.sum(axis=1) < key.gpus,
        free < key.gpus,
        nodes[CPU] < shape.cpu_milli,
        nodes[MEMORY] < shape.memory_mib,
        nodes[UNITS] < shape.units,
        np.ones(len(columns), np.bool_),
    )
    first = np.argmax(np.stack(lacks), axis=0)
    counted = np.bincount(first, minlength=len(lacks)).tolist()
    return Obstacles._make([*counted, int(free[~shut].max(initial=0))])
