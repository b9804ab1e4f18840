"""Which price holds, for whom and from when on, and what can a lease cost at most?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_contracts.errors import Refusal
from penstock_contracts.price_book import SetPrice
from penstock_contracts.prices import (
    Asked,
    PriceVersion,
    RankShape,
    billed_ms,
    bound_micro,
    list_price,
    resolve,
    unit_of,
)
from penstock_metering.core.book import DEFAULT_PRICES, PriceBook
from penstock_metering.core.pricing import discounted_micro, new_versions

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
KEY = "01MCC5RM000000000000000001"


def a_version(number: int, sku: str = "gpu", micro: int = 1_000_000, **fields: Any) -> PriceVersion:
    plain = PriceVersion(
        sku=sku, version=number, effective_from_ms=0, unit=unit_of(sku), micro=micro
    )
    return msgspec.structs.replace(plain, **fields)


def test_the_tenants_own_price_comes_before_tier_site_and_model() -> None:
    asked = Asked("gpu/H100", "acme", "berlin", "spot")
    ladder = [
        a_version(1),
        a_version(2, "gpu/H100"),
        a_version(3, site="berlin"),
        a_version(4, tier="spot"),
        a_version(5, tenant="acme"),
    ]
    for upto in range(1, len(ladder) + 1):
        assert resolve(reversed(ladder[:upto]), asked, NOW_MS) is ladder[upto - 1]
    assert list_price(ladder, asked, NOW_MS) is ladder[3]


def test_what_is_for_others_does_not_apply() -> None:
    others = [
        a_version(1, tenant="other"),
        a_version(2, site="paris"),
        a_version(3, tier="reserved"),
        a_version(4, "gpu/A100"),
        a_version(5, "cpu"),
        a_version(6, effective_from_ms=NOW_MS + 1),
    ]
    assert resolve(others, Asked("gpu/H100", "acme", "berlin", "spot"), NOW_MS) is None


def test_no_tier_is_on_demand() -> None:
    on_demand = a_version(2, tier="on_demand")
    assert resolve([a_version(1), on_demand], Asked("gpu"), NOW_MS) is on_demand


def test_the_later_version_holds_from_its_own_instant_on() -> None:
    first, second, third = (
        a_version(number, effective_from_ms=at_ms) for number, at_ms in ((1, 0), (2, 500), (3, 500))
    )
    book = PriceBook([third, first, second])
    spans = [(a, b, price.version) for a, b, price in book.spans(Asked("gpu"), 100, 900) if price]
    assert spans == [(100, 500, 1), (500, 900, 3)]


versions = st.lists(
    st.builds(
        a_version,
        st.just(0),
        st.sampled_from(["gpu", "gpu/H100", "gpu/A100", "cpu"]),
        effective_from_ms=st.integers(0, 20),
        tenant=st.sampled_from(["", "acme", "lab"]),
        site=st.sampled_from(["", "berlin"]),
        tier=st.sampled_from(["", "on_demand", "spot"]),
        micro=st.integers(0, 5),
    ),
    max_size=12,
).map(lambda made: [msgspec.structs.replace(v, version=n + 1) for n, v in enumerate(made)])
asks = st.builds(
    Asked,
    st.sampled_from(["gpu", "gpu/H100", "cpu"]),
    st.sampled_from(["", "acme"]),
    st.sampled_from(["", "berlin"]),
    st.sampled_from(["", "spot"]),
)


@given(versions=versions, asked=asks, from_ms=st.integers(0, 20), length_ms=st.integers(0, 20))
def test_a_price_book_says_at_every_instant_what_holds(
    versions: list[PriceVersion], asked: Asked, from_ms: int, length_ms: int
) -> None:
    book = PriceBook(versions)
    at_ms = from_ms
    for start_ms, end_ms, price in book.spans(asked, from_ms, from_ms + length_ms):
        assert start_ms == at_ms < end_ms
        for at_ms in range(start_ms, end_ms):
            assert price is resolve(versions, asked, at_ms) is book.price_at(asked, at_ms)
        at_ms = end_ms
    assert at_ms == from_ms + length_ms


@pytest.mark.parametrize(
    ("used_ms", "granularity_ms", "minimum_ms", "billed"),
    [
        (1, 1_000, 0, 1_000),
        (1_000, 1_000, 0, 1_000),
        (1, 1_000, 60_000, 60_000),
        (60_001, 1_000, 60_000, 61_000),
        (61_000, 60_000, 60_000, 120_000),
    ],
)
def test_billing_in_steps_and_with_a_minimum(
    used_ms: int, granularity_ms: int, minimum_ms: int, billed: int
) -> None:
    price = a_version(1, granularity_ms=granularity_ms, minimum_ms=minimum_ms)
    assert billed_ms(used_ms, price) == billed


def bound(prices: list[PriceVersion], *ranks: RankShape, paid_ms: int = HOUR_MS) -> int:
    return bound_micro(prices, ranks, tenant="acme", tier="", paid_ms=paid_ms, from_ms=NOW_MS)


def test_a_lease_is_bounded_by_the_dearest_price_to_come() -> None:
    rank = RankShape(models=("H100", "H100"))
    dearer = a_version(2, micro=3_000_000, effective_from_ms=NOW_MS + 1)
    gone = a_version(1, micro=9_000_000)
    now = a_version(3, micro=1_000_000, effective_from_ms=NOW_MS)
    assert bound([gone, now], rank) == 2_000_000
    assert bound([gone, dearer, now], rank) == 6_000_000
    assert bound([gone, now], rank, paid_ms=0) == 0


def test_all_that_costs_is_in_the_bound() -> None:
    prices = [
        a_version(1, micro=1_000_000),
        a_version(2, "cpu/beside-gpu", micro=100_000),
        a_version(3, "memory", micro=10_000),
        a_version(4, "energy", micro=500_000),
        a_version(5, "job", micro=7),
    ]
    rank = RankShape(models=("H100",), cpu_milli=2_000, memory_mib=4_096)
    assert bound(prices, rank, rank) == 2 * (1_000_000 + 200_000 + 40_000 + 1_000_000) + 7


def set_price(*, book: tuple[PriceVersion, ...] = DEFAULT_PRICES, **wish: Any) -> Any:
    return new_versions(book, SetPrice(key=KEY, **{"sku": "gpu", **wish}), NOW_MS)


def refusal_of(**wish: Any) -> str:
    said = set_price(**wish)
    assert isinstance(said, Refusal), said
    return said.code


def test_a_new_price_follows_on_from_the_one_before() -> None:
    first = set_price(micro=3_000_000, granularity_ms=60_000, billable=("preparing", "running"))
    (second,) = set_price(book=(*DEFAULT_PRICES, *first), micro=4_000_000)
    assert (first[0].version, second.version) == (3, 4)
    assert (second.granularity_ms, second.billable) == (60_000, ("preparing", "running"))
    assert (second.effective_from_ms, second.currency) == (NOW_MS, "USD")


def test_what_cannot_be_set_is_refused() -> None:
    assert refusal_of(sku="tpu", micro=1) == "unknown_sku"
    assert refusal_of(sku="gpu/", micro=1) == "unknown_sku"
    assert refusal_of() == "contradiction"
    assert refusal_of(micro=1, discount_ppm=1) == "contradiction"
    assert refusal_of(discount_ppm=1) == "contradiction"
    assert refusal_of(sku="energy", discount_ppm=1, tenant="lab") == "no_list_price"
    assert refusal_of(micro=1, effective_from_ms=NOW_MS - 1) == "price_in_past"


def test_a_new_mesh_changes_its_currency_as_a_whole_and_no_other_does() -> None:
    moved = set_price(micro=1_900_000, currency="EUR")
    assert [(v.sku, v.currency) for v in moved] == [("gpu", "EUR"), ("cpu", "EUR")]
    book = (*DEFAULT_PRICES, *moved)
    assert refusal_of(book=book, micro=1, currency="USD") == "other_currency"
    (euros,) = set_price(book=book, sku="gpu/H100", micro=5)
    assert euros.currency == "EUR"


def test_a_discount_follows_the_list_price() -> None:
    book = [*DEFAULT_PRICES]
    book += set_price(book=tuple(book), discount_ppm=200_000, tenant="lab", sku="gpu/H100")
    assert (book[-1].micro, book[-1].discount_ppm) == (1_600_000, 200_000)
    added = set_price(book=tuple(book), micro=5_000_000, sku="gpu/H100")
    assert [(v.tenant, v.micro) for v in added] == [("", 5_000_000), ("lab", 4_000_000)]


def test_a_discount_follows_list_prices_that_are_to_come() -> None:
    later = NOW_MS + HOUR_MS
    book = [*DEFAULT_PRICES]
    book += set_price(book=tuple(book), micro=3_000_000, effective_from_ms=later)
    added = set_price(book=tuple(book), discount_ppm=500_000, tenant="lab")
    assert [(v.effective_from_ms, v.micro) for v in added] == [
        (NOW_MS, 1_000_000),
        (later, 1_500_000),
    ]


def test_a_discount_is_rounded_half_to_even() -> None:
    assert [discounted_micro(micro, 500_000) for micro in (1, 3, 5)] == [0, 2, 2]
