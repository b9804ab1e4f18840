"""How many nodes could take a rank, and which are the best?

What `loops.pick` looks at, told for people who ask what was considered: the same order, the same
ties. Machine code, or numpy where there is none. It does not know what a score is made of.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock_scheduler.core.packing.compiled import compiled_in_place
from penstock_scheduler.core.packing.layout import (
    DEVICE,
    FIXED,
    INFEASIBLE,
    LOSS,
    MEMORY,
    MILLI,
    ORDER,
    UNITS,
    Array,
)
from penstock_scheduler.core.packing.vectors import fitting

LAYOUT = "4435255de6fd"
"""Digest of the file whose numbers are compiled in; a test compares."""


class Leaders(NamedTuple):
    """`able`: nodes that fit. Of the best of them, best first: columns, scores, and which device is
    the best for a share."""

    able: int
    columns: Array
    scores: Array
    devices: Array


def leaders(
    sizes: tuple[int, int, int, int],
    arrays: tuple[Array, Array, Array],
    most: int,
    *,
    machine_code: bool,
) -> Leaders:
    """At most so many of them. `sizes` and `arrays`: as `loops.pick` takes them."""
    count, memory_mib, units, weight = sizes
    closed, nodes, scores = arrays
    if machine_code:
        best = np.empty((2, most), np.int64)
        able = _lead(count, memory_mib, units, weight, closed, nodes, scores, best)
        kept = min(able, most)
        columns, values = best[0, :kept], best[1, :kept]
    else:
        fits = fitting(count, memory_mib, units, closed, nodes, scores)
        worth = scores[FIXED, fits] - weight * scores[LOSS, fits] // MILLI
        first = np.lexsort((nodes[ORDER, fits], -worth))[:most]
        able, columns, values = fits.shape[0], fits[first], worth[first]
    return Leaders(able, columns, values, scores[DEVICE, columns])


@compiled_in_place
def _lead(
    count: int,
    memory_mib: int,
    units: int,
    weight: int,
    closed: Array,
    nodes: Array,
    scores: Array,
    best: Array,
) -> int:
    """Writes columns and scores of the best places, best first; how many nodes fit."""
    able = 0
    most = best.shape[1]
    last = last_order = 0  # score and place by name of the last of `most`
    for n in range(count):
        fixed = scores[FIXED, n]
        if fixed == INFEASIBLE or nodes[MEMORY, n] < memory_mib or nodes[UNITS, n] < units:
            continue
        if closed.shape[0] and closed[n]:
            continue
        able += 1
        if able > most and (fixed < last or (fixed == last and nodes[ORDER, n] > last_order)):
            continue  # a loss is never negative
        value = fixed - weight * scores[LOSS, n] // MILLI
        at = min(able - 1, most)
        while at > 0 and (
            value > best[1, at - 1]
            or (value == best[1, at - 1] and nodes[ORDER, n] < nodes[ORDER, best[0, at - 1]])
        ):
            if at < most:
                best[0, at], best[1, at] = best[0, at - 1], best[1, at - 1]
            at -= 1
        if at < most:
            best[0, at], best[1, at] = n, value
        if able >= most:
            last, last_order = best[1, most - 1], nodes[ORDER, best[0, most - 1]]
    return able
