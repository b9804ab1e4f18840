"""Which node does chance give?

Any node that fits, all with the same chance; the same seed draws the same. It does not know why
anybody would place at random: to compare.
"""

from __future__ import annotations

import numpy as np

from penstock_scheduler.core.packing.layout import ORDER, Array

FACTOR, STEP, MASK = 6364136223846793005, 1442695040888963407, 2**64 - 1
"""Knuth's MMIX generator, of which the upper bits are used."""
SHIFT = 33


class Tombola:
    """Draws from given numbers only."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def draw(self, columns: Array, nodes: Array) -> int:
        """One of these columns; -1 = there is none."""
        if not columns.size:
            return -1
        self._state = (self._state * FACTOR + STEP) & MASK
        ordered = columns[np.argsort(nodes[ORDER, columns])]
        return int(ordered[(self._state >> SHIFT) % columns.size])
