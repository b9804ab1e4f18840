"""Are days, months and shares of amounts what they should be?"""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from penstock_metering.core.allocation import allocate
from penstock_metering.core.months import (
    MS_PER_DAY,
    date_of_day,
    day_of,
    is_month,
    month_bounds_ms,
    month_days,
    month_of,
    next_month,
    posting_month,
)

INSTANTS_MS = st.integers(0, (1 << 43) - 1)


@given(INSTANTS_MS)
def test_a_day_and_a_month_are_what_the_calendar_of_the_standard_library_says(at_ms: int) -> None:
    there = datetime.fromtimestamp(at_ms / 1000, UTC)
    assert date_of_day(day_of(at_ms)) == there.strftime("%Y-%m-%d")
    assert month_of(at_ms) == there.strftime("%Y-%m")


@given(INSTANTS_MS)
def test_a_month_begins_where_the_one_before_ends_and_holds_its_instants(at_ms: int) -> None:
    month = month_of(at_ms)
    start_ms, end_ms = month_bounds_ms(month)
    assert start_ms <= at_ms < end_ms
    assert month_bounds_ms(next_month(month))[0] == end_ms
    assert (end_ms - start_ms) // MS_PER_DAY == len(month_days(month))
    assert day_of(at_ms) in month_days(month)


def test_what_is_no_month_is_told_apart() -> None:
    assert is_month("2026-11")
    assert not any(map(is_month, ("2026-13", "2026-00", "2026-1", "", "2026-11-01", "2026-11\n")))


def test_use_of_a_closed_month_posts_to_the_first_open_one() -> None:
    assert posting_month("2026-11", "") == "2026-11"
    assert posting_month("2026-11", "2026-10") == "2026-11"
    assert posting_month("2026-10", "2026-10") == "2026-11"
    assert posting_month("2025-02", "2026-12") == "2027-01"


@given(st.integers(-(1 << 80), 1 << 80), st.lists(st.integers(-(1 << 60), 1 << 70), min_size=1))
def test_shares_sum_to_the_amount_and_none_is_off_by_a_unit(
    amount: int, weights: list[int]
) -> None:
    parts = allocate(amount, weights)
    total = sum(weights)
    assert sum(parts) == amount
    for part, weight in zip(parts, weights, strict=True):
        if total:
            assert abs(part * total - amount * weight) < abs(total)


def test_equal_losses_are_made_good_in_order() -> None:
    assert allocate(10, [1, 1, 1]) == [4, 3, 3]
    assert allocate(-10, [1, 1, 1]) == [-4, -3, -3]
    assert allocate(5, [0, 0]) == [3, 2]
    assert allocate(4, [5, -3]) == [10, -6]
    assert allocate(0, []) == []
