"""What is a hole of x milli-GPU in a device worth, given what shares are asked for?

The dual prices of the cutting-stock linear program (Gilmore and Gomory 1961): devices are the
stock, shares the pieces, and a share's price is what one more of it costs in devices when all are
cut as well as can be. A hole is worth the best that can be cut from it. It does not know nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd

import numpy as np

from penstock_scheduler.core.packing.compiled import compiled
from penstock_scheduler.core.packing.layout import MILLI, Array

SIZES_MAX = 32
"""So many sizes, the ones asked for most, enter the program; a size left out is worth what can be
cut from it."""
ROUNDS_MAX = 60
"""Patterns tried per program; most end sooner. Ended early, the prices are scaled down until no
pattern is worth more than a device (Farley 1990)."""
PRECISION = 1e-9
PIVOT_LEAST = 1e-7
VALUE = 1_000_000
"""The worth of a whole device."""
SHIFTS = ((1.0, 1.0), (0.85, 1.15), (1.15, 0.85), (1.15, 1.0), (1.0, 0.85))
"""Factors on the demand for every other size. The prices are the mean over these programs, because
those of a single one jump when the demand moves a little."""


def hole_values(demand: Mapping[int, float]) -> Array:
    """Worth of a hole of 0, 1, ... 1000 milli-GPU, in millionths of a device. `demand`: how often
    each size below 1000 is asked for."""
    prices = share_prices(demand)
    values = np.zeros(MILLI + 1, np.int64)
    if prices:
        sizes = np.array(list(prices), np.int64)
        worth = np.array([int(price * VALUE) for price in prices.values()], np.int64)
        values[:] = _fill_integers(sizes, worth, MILLI)
    values[MILLI] = max(values[MILLI], VALUE)
    return values


def share_prices(demand: Mapping[int, float]) -> dict[int, float]:
    """Price per size in devices."""
    asked = {size: count for size, count in demand.items() if 0 < size < MILLI and count > 0}
    chosen = sorted(asked, key=lambda size: (-asked[size] * size, size))[:SIZES_MAX]
    sizes = sorted(chosen, reverse=True)
    if not sizes:
        return {}
    unit = gcd(*sizes)
    small = np.array([size // unit for size in sizes], np.int64)
    capacity = MILLI // unit
    patterns = np.diag(capacity // small).astype(np.float64)
    total = np.zeros(len(sizes))
    for even, odd in SHIFTS:
        counts = [asked[size] * (odd if i % 2 else even) for i, size in enumerate(sizes)]
        prices, patterns = _duals(small, np.array(counts, np.float64), capacity, patterns)
        total += np.maximum(prices, 0.0)
    return dict(zip(sizes, (total / len(SHIFTS)).tolist(), strict=True))


def _duals(sizes: Array, demand: Array, capacity: int, patterns: Array) -> tuple[Array, Array]:
    """Prices of the optimum, and the patterns in use there. `patterns`, one a column, are where to
    begin; those of other demands may not do for this one, then the plainest are taken."""
    amounts: Array = np.linalg.solve(patterns, demand)
    if amounts.min() < 0:
        patterns = np.diag(capacity // sizes).astype(np.float64)
        amounts = np.linalg.solve(patterns, demand)
    prices: Array = np.zeros(len(sizes))
    worth = 1.0
    for _ in range(ROUNDS_MAX):
        prices = np.linalg.solve(patterns.T, np.ones(len(sizes)))
        worth, pattern = best_pattern(sizes, prices, capacity)
        if worth <= 1 + PRECISION:
            break
        column = np.linalg.solve(patterns, pattern.astype(np.float64))
        ratios = np.full(len(sizes), np.inf)
        able = column > PIVOT_LEAST
        if not able.any():
            break
        ratios[able] = np.maximum(amounts[able], 0.0) / column[able]
        leaving = int(np.argmin(ratios))
        amounts = amounts - ratios[leaving] * column
        amounts[leaving] = ratios[leaving]
        patterns = patterns.copy()
        patterns[:, leaving] = pattern
    return prices / max(1.0, worth), patterns


@compiled
def best_pattern(sizes: Array, prices: Array, capacity: int) -> tuple[float, Array]:
    """The most valuable way to cut one device, and its worth: an unbounded knapsack."""
    best = np.zeros(capacity + 1, np.float64)
    last = np.full(capacity + 1, -1, np.int64)
    for room in range(1, capacity + 1):
        best[room] = best[room - 1]
        for i in range(sizes.shape[0]):
            if sizes[i] <= room and best[room - sizes[i]] + prices[i] > best[room] + PRECISION:
                best[room] = best[room - sizes[i]] + prices[i]
                last[room] = i
    pattern = np.zeros(sizes.shape[0], np.int64)
    room = capacity
    while room > 0:
        if last[room] < 0:
            room -= 1
        else:
            pattern[last[room]] += 1
            room -= sizes[last[room]]
    return best[capacity], pattern


@compiled
def _fill_integers(sizes: Array, worth: Array, capacity: int) -> Array:
    """The best worth of every hole up to a whole device."""
    best = np.zeros(capacity + 1, np.int64)
    for room in range(1, capacity + 1):
        best[room] = best[room - 1]
        for i in range(sizes.shape[0]):
            if sizes[i] <= room:
                best[room] = max(best[room], best[room - sizes[i]] + worth[i])
    return best
