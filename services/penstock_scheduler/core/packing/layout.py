"""Which number stands where in the packer's arrays?

Names for rows and columns that the loops and the numpy versions share. It computes nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# Rows of the node array, one column a node: free milli-CPU, MiB and units · 1 = may get work ·
# place in the order of names · milli-GPU free on usable devices · usable devices, and those wholly
# free · free GPU that the workload could use, weighted · the version at which it last changed
# · devices, usable or not.
CPU, MEMORY, UNITS, OPEN, ORDER, TOTAL, USABLE, WHOLE, FILL, CHANGED, SLOTS = range(11)
NODE_ROWS = 11

# Layers of the device array [layer, node, device].
FREE, KIND = range(2)
NO_DEVICE = -1
"""Kind of a device that is not there or not usable."""
MIXED = -2
"""Said of devices of several kinds."""

# Layers of the count array [layer, node, group]: usable devices with enough free, and what is free
# on these.
COUNT, SUM = range(2)

# Rows of the group table, one column a group of typical shapes with the same devices; below them a
# row per device kind: 1 = may be used.
GROUP_GPUS, GROUP_MILLI, GROUP_KINDS = range(3)

# Rows of the kind table of a shape, one column a device kind: may it be used, what is it worth.
ALLOWED, PRICE = range(2)

# Layers of a row of scores [layer, node]: what stays while the node does, what is weighed by how
# full the fleet is, and the best device for a share.
FIXED, LOSS, DEVICE = range(3)
ROW_LAYERS = 3
INFEASIBLE = -(2**31)

# Numbers of a row: the shape's, then the policy's.
P_CPU, P_GPUS, P_MILLI, P_POLICY, P_RATIO = range(5)
P_FRAGMENT, P_TIGHT, P_STRANDED, P_SPARE, P_PRICE, P_REFERENCE = range(5, 11)
PARAMETERS = 11

# Policies by number; the first two look at fragmentation.
PENSTOCK, FGD, BEST_FIT, GPU_PACKING, RANDOM = range(5)

MILLI = 1000
CPU_UNIT_MILLI = 128_000
"""Free CPU is weighed in units of so much: the size of a large node."""
WEIGHT_SUM_BITS = 20
WEIGHT_SUM = 1 << WEIGHT_SUM_BITS
"""The popularities of a workload's shapes add up to this."""
DEVICES_MAX = 256
"""Per node."""


class Room(NamedTuple):
    """The arrays of a fleet: [NODE_ROWS, node], [2, node, device], [2, node, group]."""

    nodes: Array
    devices: Array
    counts: Array


class Profile(NamedTuple):
    """A workload as arrays: the group table; the CPU demands of typical shapes, rising; the weight
    of each group's shapes that ask at most so much [step, group]; the worth of holes [1001]; where
    FGD's score rises."""

    groups: Array
    steps: Array
    cumulated: Array
    phi: Array
    thresholds: Array


class Row(NamedTuple):
    """What is kept of one shape: numbers, the kind table, scores [ROW_LAYERS, node]."""

    params: Array
    kinds: Array
    scores: Array
