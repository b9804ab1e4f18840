"""Does rating give what exact rational arithmetic gives, however what it knows came in?"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.exact import DAY_MS, Case, Costs, exact_costs, random_case, random_versions
from penstock_contracts.prices import money_micro
from penstock_metering.core.book import PriceBook
from penstock_metering.core.parts import Part
from penstock_metering.core.rating import Continued, LeaseRating, rate_whole

BEGIN_MS = 20_833 * DAY_MS - 100_000
"""So that some leases run over midnight."""
PRICE_BOOKS = 60
LEASES_A_BOOK = 25


def costs_of(parts: list[Part], book: PriceBook) -> Costs:
    sums: dict[tuple[str, int], int] = {}
    for part in parts:
        key = part.sku, part.price_version
        sums[key] = sums.get(key, 0) + part.billed_quantity
    return {
        key: money_micro(quantity, book.by_number[key[1]])
        for key, quantity in sums.items()
        if quantity and book.by_number[key[1]].micro
    }


def differs(case: Case, parts: list[Part], book: PriceBook) -> bool:
    """Whether an amount is another one than exact arithmetic gives."""
    return costs_of(parts, book) != exact_costs(case)


def rated(case: Case, book: PriceBook) -> list[Part]:
    return rate_whole(case.lease, case.models, book, case.lines)


@pytest.mark.lesson(18)
def test_rating_equals_exact_rational_arithmetic() -> None:
    random = Random(6)
    for _ in range(PRICE_BOOKS):
        versions = random_versions(random, BEGIN_MS)
        book = PriceBook(versions)
        for _ in range(LEASES_A_BOOK):
            case = random_case(random, versions, BEGIN_MS)
            assert not differs(case, rated(case, book), book), case


@given(st.integers(0, 1 << 32))
def test_parts_lie_in_one_day_each_and_never_overlap_in_what_ran(seed: int) -> None:
    random = Random(seed)
    versions = random_versions(random, BEGIN_MS)
    case = random_case(random, versions, BEGIN_MS)
    parts = rated(case, PriceBook(versions))
    for part in parts:
        assert part.t0_ms // DAY_MS == part.day == max(part.t0_ms, part.t1_ms - 1) // DAY_MS
        assert part.quantity > 0
    assert sum(part.runs for part in parts) <= 1
    lease = case.lease
    for device in lease.devices:
        held = [p for p in parts if p.device == device and p.sku.startswith("gpu")]
        most = lease.gpu_milli * ((lease.released_ms or 0) - lease.granted_ms)
        assert sum(part.quantity for part in held) <= most


@given(st.integers(0, 1 << 32), st.integers(0, 8))
def test_a_lease_rated_as_segments_come_has_the_same_parts_in_the_end(seed: int, at: int) -> None:
    """What came first is rated by itself; what follows goes on from there, or all is done anew."""
    random = Random(seed)
    versions = random_versions(random, BEGIN_MS)
    book = PriceBook(versions)
    case = random_case(random, versions, BEGIN_MS)
    whole = rated(case, book)
    first = rate_whole(case.lease, case.models, book, case.lines[:at])
    try:
        rating = LeaseRating(case.lease, case.models, book, first)
        rating.add(case.lines[at:])
        assert rating.parts() == whole
    except Continued:
        assert rated(case, book) == whole
