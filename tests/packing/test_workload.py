"""Are holes worth what can be cut from them, and is a workload what it was counted as?"""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packing.builders import SHAPES, a_workload
from penstock_scheduler.core.packing.cutting import hole_values, share_prices
from penstock_scheduler.core.packing.layout import WEIGHT_SUM
from penstock_scheduler.core.packing.popularity import (
    FADE_EVERY,
    LEARN_EVERY,
    SHAPES_MAX,
    Popularity,
)
from penstock_scheduler.core.packing.shapes import PackShape, row_key
from penstock_scheduler.core.packing.workload import Workload, count_shapes, typical, workload_of

demands = st.dictionaries(st.integers(1, 999), st.integers(1, 1000), max_size=60)


@pytest.mark.parametrize(
    ("demand", "size", "price"),
    [({500: 10}, 500, 0.5), ({810: 3}, 810, 1.0), ({300: 9}, 300, 1 / 3), ({}, 500, None)],
)
def test_the_price_of_a_share_is_its_part_of_a_device(
    demand: dict[int, float], size: int, price: float | None
) -> None:
    assert share_prices(demand).get(size) == (None if price is None else pytest.approx(price))


@settings(max_examples=100, deadline=None)
@given(demands)
def test_no_pattern_is_worth_more_than_a_device(demand: dict[int, float]) -> None:
    values = hole_values(demand)
    assert values[0] == 0
    assert values[1000] == 1_000_000
    assert (values[1:] >= values[:-1]).all()
    for first in range(0, 1001, 13):
        assert values[first] + values[1000 - first] <= values[1000]


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(SHAPES), st.integers(1, 10_000), min_size=1))
def test_typical_shapes_cover_the_workload(counts: dict[PackShape, int]) -> None:
    keyed = {row_key(shape): count for shape, count in counts.items()}
    chosen = typical(tuple(keyed.items()))
    covered = sum(keyed[key] for key, _ in chosen)
    assert covered * 100 >= 95 * sum(keyed.values())
    assert WEIGHT_SUM - len(chosen) <= sum(weight for _, weight in chosen) <= WEIGHT_SUM


def test_the_price_of_a_model_is_the_part_that_must_have_it() -> None:
    must = PackShape(0, 0, 1, 1000, None, ("B",))
    free = PackShape(0, 0, 1, 1000)
    workload = workload_of(count_shapes([must, free, free, free]), {"A": 50, "B": 50})
    assert workload.prices == (("B", 500),)


def test_a_written_workload_is_the_same_again() -> None:
    workload = a_workload()
    assert workload_of(dict(reversed(workload.counts)), {"B": 10, "A": 20}) == workload


def test_old_jobs_fade_and_rare_ones_are_forgotten() -> None:
    popularity = Popularity()
    for cpu_milli in range(3 * SHAPES_MAX):
        popularity.see(PackShape(cpu_milli, 0, 1, 500))
        assert len(popularity.counts) <= SHAPES_MAX
    for _ in range(12 * FADE_EVERY):
        popularity.see(SHAPES[1])
    assert set(popularity.counts) == {row_key(SHAPES[1])}


def test_it_learns_often_first_and_seldom_later() -> None:
    popularity = Popularity()
    learned = [number for number in range(20_000) if popularity.see(SHAPES[number % 5])]
    gaps = [after - before for before, after in itertools.pairwise(learned)]
    assert learned[0] == 31
    assert gaps == sorted(gaps)
    assert gaps[-1] == LEARN_EVERY


def test_what_waits_counts_beside_what_came() -> None:
    popularity = Popularity()
    before = dict(popularity.workload({}).counts)
    after = dict(popularity.workload({}, [(SHAPES[1], 3)]).counts)
    key = row_key(SHAPES[1])
    assert key not in before
    assert after[key] > max(before.values()) / 2


def test_typical_shapes_are_taken_in_steps_where_a_policy_does_so() -> None:
    counts = [(row_key(PackShape(1_000 * i, 0, 1, 1000)), 1000 >> i) for i in range(1, 9)]
    assert [len(typical(counts, step)) for step in (1, 3, 4, 20)] == [5, 6, 8, 8]


def test_a_workload_can_be_written_into_a_journal_and_is_never_large() -> None:
    models = tuple(f"model-{i}" for i in range(8))
    counts = {
        row_key(PackShape(1_000 + i, 0, 1, 1 + i % 999, 10_000, models)): 1 + i % 7
        for i in range(SHAPES_MAX)
    }
    workload = workload_of(counts, dict.fromkeys(models, 100))
    assert min(count for _, count in workload.counts) == 6
    written = msgspec.json.encode(workload)
    assert len(written) < 256 * 1024
    assert msgspec.json.decode(written, type=Workload) == workload
