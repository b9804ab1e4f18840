"""How is an amount divided so that its parts sum to it?

By largest remainder (Hamilton's method): every part gets its share rounded down, and what
is left goes, one unit each, to those that lost most by that; the first ones where they lost the
same. It does not know what is divided.
"""

from __future__ import annotations

from collections.abc import Sequence


def allocate(amount: int, weights: Sequence[int]) -> list[int]:
    """The parts of `amount`, in the order of `weights`. Where these sum to zero all weigh the same;
    without weights there are no parts."""
    total = sum(weights)
    if total == 0:
        weights, total = [1] * len(weights), len(weights)
    if total < 0:
        weights, total = [-weight for weight in weights], -total
    size, sign = abs(amount), -1 if amount < 0 else 1
    parts, rests = [], []
    for index, weight in enumerate(weights):
        part, rest = divmod(size * weight, total)
        parts.append(part)
        rests.append((-rest, index))
    left = size - sum(parts)
    if left:
        rests.sort()
        for _, index in rests[:left]:
            parts[index] += 1
    return parts if sign > 0 else [-part for part in parts]
