"""Do the parts of many amounts, divided at once, equal those of each divided by itself?"""

from __future__ import annotations

import random

import numpy as np
import pytest

from penstock_contracts.errors import InvariantError
from penstock_metering.core.allocation import allocate
from penstock_metering.core.spread import AMOUNT_MAX, WEIGHTS_MAX, spread, sums_by_group

CASES = 2_000


def integers(values: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.array(values, dtype=np.int64)


def test_dividing_many_amounts_at_once_gives_what_dividing_each_gives() -> None:
    random_numbers = random.Random(20261123)
    for _ in range(CASES):
        count, parts = random_numbers.randint(1, 5), random_numbers.randint(0, 30)
        highest = random_numbers.choice([3, 10, 10**6, AMOUNT_MAX])
        heaviest = random_numbers.choice([0, 1, 2, 5, 10**6, WEIGHTS_MAX // 32])
        amounts = [random_numbers.randint(-highest, highest) for _ in range(count)]
        groups = [random_numbers.randrange(count) for _ in range(parts)]
        weights = [random_numbers.randint(0, heaviest) for _ in range(parts)]
        found = spread(amounts, integers(groups), integers(weights))
        for group, amount in enumerate(amounts):
            own = [index for index in range(parts) if groups[index] == group]
            expected = allocate(amount, [weights[index] for index in own]) if own else []
            assert [int(found[index]) for index in own] == expected, (amounts, groups, weights)


def test_parts_of_a_month_of_a_large_fleet_sum_to_what_was_divided() -> None:
    draw = np.random.default_rng(7)
    groups = draw.integers(0, 50, 200_000)
    amounts = draw.integers(-(10**13), 10**13, 50)
    parts = spread(amounts, groups, draw.integers(0, 10**11, 200_000))
    assert sums_by_group(parts, groups, 50).tolist() == amounts.tolist()


def test_what_could_not_be_divided_exactly_is_refused() -> None:
    with pytest.raises(InvariantError):
        spread([AMOUNT_MAX + 1], integers([0]), integers([1]))
    with pytest.raises(InvariantError):
        spread([1], integers([0]), integers([WEIGHTS_MAX + 1]))
    with pytest.raises(InvariantError):
        spread([1], integers([0, 0]), integers([1, -1]))
