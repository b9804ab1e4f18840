"""How much does use count that was some time ago?

Half after each half-life, in integers alone: whoever folds the same facts gets the same figures.
It does not know whose use it is.
"""

from __future__ import annotations

from math import isqrt

GRID_BITS = 20
"""A half-life has so many steps of the grid of instants: 82 ms of a day."""
_HALF_BITS = GRID_BITS // 2
_ONE_BITS = 60
_LN2_TRILLIONTHS = 693_147_180_560


def _roots(count: int) -> list[int]:
    """The 2nd, 4th, … 2**count-th root of one half, in units of 2**-_ONE_BITS."""
    found, root = [], 1 << (_ONE_BITS - 1)
    for _ in range(count):
        root = isqrt(root << _ONE_BITS)
        found.append(root)
    return found


def _powers(root: int, count: int) -> list[int]:
    found, power = [], 1 << _ONE_BITS
    for _ in range(count):
        found.append(power)
        power = power * root >> _ONE_BITS
    return found


_ROOTS = _roots(GRID_BITS)
_COARSE = _powers(_ROOTS[_HALF_BITS - 1], 1 << _HALF_BITS)
_FINE = _powers(_ROOTS[GRID_BITS - 1], 1 << (GRID_BITS - _HALF_BITS))


def grid_of(now_ns: int, half_life_s: int) -> int:
    """The instant as a step of the grid."""
    return (now_ns << GRID_BITS) // (half_life_s * 1_000_000_000)


def steady_ms(half_life_s: int) -> int:
    """To so many milliseconds of it what is held for ever comes, decayed as it goes."""
    return half_life_s * 1_000 * 1_000_000_000_000 // _LN2_TRILLIONTHS


def decayed(amount: int, steps: int) -> int:
    """What is left of it after so many steps of the grid."""
    halvings, rest = steps >> GRID_BITS, steps & ((1 << GRID_BITS) - 1)
    factor = _COARSE[rest >> _HALF_BITS] * _FINE[rest & ((1 << _HALF_BITS) - 1)] >> _ONE_BITS
    return amount * factor >> (_ONE_BITS + halvings)


def used_after(used: int, held: int, steps: int, steady: int) -> int:
    """Use in milli x ms, after `held` was held for so many steps more."""
    at_rest = held * steady
    return at_rest + decayed(used - at_rest, steps)
