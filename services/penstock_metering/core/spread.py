"""How are many amounts divided at once so that the parts of each sum to it?

What `allocation.allocate` does with one amount, here with a million parts, by arrays. It does not
know what the amounts are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from penstock_contracts.errors import InvariantError

Integers: TypeAlias = npt.NDArray[np.int64]

AMOUNT_MAX = 1 << 52
"""Of one amount: 4.5 thousand million of a currency, in micro."""
WEIGHTS_MAX = 1 << 60
"""Of one group's weights together: a month of 400,000 devices in milli-GPU·ms."""


def spread(amounts: Sequence[int] | Integers, groups: Integers, weights: Integers) -> Integers:
    """Part i belongs to group `groups[i]` and gets its share, by `weights[i]` ≥ 0, of
    `amounts[groups[i]]`, as `allocate` gives it. Raises InvariantError beyond the bounds above.

    A quotient is first guessed in floating point; the exact remainder, for which the low 64 bits
    of both products suffice, then corrects it.
    """
    signed = np.asarray(amounts, dtype=np.int64)
    size = np.abs(signed)
    if int(size.max(initial=0)) > AMOUNT_MAX or int(weights.min(initial=0)) < 0:
        raise InvariantError("an amount is too large to be spread, or a weight is negative")
    totals = sums_by_group(weights, groups, len(signed))
    numbers = sums_by_group(np.ones_like(weights), groups, len(signed))
    weights = np.where(totals[groups] == 0, 1, weights)
    totals = np.where(totals == 0, numbers, totals)
    if int(totals.max(initial=0)) > WEIGHTS_MAX or int(totals.min(initial=0)) < 0:
        raise InvariantError("weights are too large to spread an amount over them")
    own_size, own_total = size[groups], totals[groups]
    parts = (own_size.astype(np.float64) * weights / own_total).astype(np.int64)
    rest = own_size * weights - parts * own_total  # each product wraps; their difference is small
    parts += rest // own_total
    rest %= own_total
    left = size - sums_by_group(parts, groups, len(signed))
    order = np.lexsort((-rest, groups))
    ordered = groups[order]
    place = np.arange(len(ordered)) - np.searchsorted(ordered, ordered, side="left")
    parts[order[place < left[ordered]]] += 1
    return parts * np.sign(signed)[groups]


def sums_by_group(values: Integers, groups: Integers, count: int) -> Integers:
    """The sum of `values` in each of `count` groups, exactly."""
    sums = np.zeros(count, dtype=np.int64)
    np.add.at(sums, groups, values)
    return sums
