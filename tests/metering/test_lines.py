"""Does every use end in lines that sum to what it costs, whenever it became known?"""

from __future__ import annotations

from fractions import Fraction

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock_contracts.prices import QUANTITY_PER_UNIT, PriceVersion
from penstock_metering.core.lines import Line, Use, line_amounts
from penstock_metering.core.months import posting_month

HOUR = QUANTITY_PER_UNIT["gpu_hour"]
PRICES = {
    price.version: price
    for price in (
        PriceVersion(sku="gpu", version=1, effective_from_ms=0, unit="gpu_hour", micro=2_000_000),
        PriceVersion(
            sku="gpu", version=2, effective_from_ms=9, unit="gpu_hour", micro=1_333_333,
            free_quantity=HOUR // 3,
        ),
        PriceVersion(
            sku="gpu", version=3, effective_from_ms=11, unit="gpu_hour", micro=777_777,
            free_quantity=HOUR,
        ),
        PriceVersion(
            sku="gpu/H100", version=4, effective_from_ms=0, unit="gpu_hour", micro=3_141_592,
            currency="EUR", free_quantity=1,
        ),
        PriceVersion(sku="job", version=5, effective_from_ms=0, unit="job", micro=5),
    )
}  # fmt: skip
SKUS = {1: ("gpu", "gpu/A100"), 2: ("gpu",), 3: ("gpu", "gpu/A100"), 4: ("gpu/H100",), 5: ("job",)}
MONTHS = ("2026-09", "2026-10", "2026-11")


def use(version: int, billed: int, *, tenant: str = "acme", corrects: str = "") -> Use:
    return Use(
        tenant=tenant,
        sku=SKUS[version][0],
        price_version=version,
        corrects=corrects,
        quantity=billed,
        billed_quantity=billed,
    )


def amounts(*uses: Use, billed: tuple[Line, ...] = ()) -> list[int]:
    return [line.amount_micro for line in line_amounts(uses, PRICES, billed)]


def test_a_line_is_summed_first_and_rounded_once() -> None:
    a_third = HOUR // 3
    assert amounts(*[use(1, a_third)] * 3) == [2_000_000]
    assert amounts(use(1, 1)) == [0]
    assert amounts(use(5, 3)) == [15]


def test_use_without_a_price_makes_no_line() -> None:
    asked = Use(tenant="a", sku="cpu", price_version=0, quantity=1, billed_quantity=1)
    assert line_amounts([asked], PRICES) == []


def test_an_allowance_is_given_once_however_many_prices_there_were() -> None:
    lines = line_amounts([use(2, HOUR), use(3, HOUR)], PRICES)
    assert [line.free_quantity for line in lines] == [HOUR // 3, HOUR - HOUR // 3]
    assert [line.amount_micro for line in lines] == [888_889, 259_259]


def test_an_allowance_is_each_tenants_own() -> None:
    lines = line_amounts([use(3, HOUR), use(3, HOUR, tenant="other")], PRICES)
    assert [line.amount_micro for line in lines] == [0, 0]


def test_what_comes_late_is_billed_as_what_the_month_costs_more() -> None:
    (first,) = line_amounts([use(3, HOUR // 2)], PRICES)
    assert (first.amount_micro, first.free_quantity) == (0, HOUR // 2)
    as_billed = replace(first, corrects="2026-10")
    (late,) = line_amounts([use(3, HOUR, corrects="2026-10")], PRICES, [as_billed])
    assert (late.billed_quantity, late.free_quantity) == (HOUR, HOUR - HOUR // 2)
    assert late.amount_micro == 388_888  # half of 777,777, to the even side


def test_what_was_billed_too_much_is_taken_back() -> None:
    (first,) = line_amounts([use(1, HOUR)], PRICES)
    as_billed = replace(first, corrects="2026-10")
    assert amounts(use(1, -HOUR // 4, corrects="2026-10"), billed=(as_billed,)) == [-500_000]


USES = st.lists(
    st.tuples(
        st.sampled_from(MONTHS),
        st.sampled_from([(version, sku) for version, skus in SKUS.items() for sku in skus]),
        st.sampled_from(("acme", "bolt")),
        st.integers(0, 3 * HOUR),
    ),
    max_size=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(USES, st.tuples(*[st.integers(0, 12)] * 3))
def test_what_is_billed_in_all_does_not_depend_on_when_use_became_known(
    found: list[tuple[str, tuple[int, str], str, int]], cuts: tuple[int, ...]
) -> None:
    """Use arrives in this order; a month is closed each time as much has arrived as a cut says."""
    opened: dict[str, list[Use]] = {}
    closed: list[Line] = []
    closed_until, begin = "", 0
    for month, end in zip((*MONTHS, "2026-12"), (*sorted(cuts), len(found)), strict=True):
        for used in found[begin:end]:
            period = posting_month(used[0], closed_until)
            corrects = used[0] if used[0] != period else ""
            opened.setdefault(period, []).append(_use(*used, corrects=corrects))
        lines = line_amounts(opened.pop(month, []), PRICES, closed)
        closed += [replace(line, corrects=line.corrects or month) for line in lines]
        begin, closed_until = end, month
    at_once = [
        replace(line, corrects=month)
        for month in MONTHS
        for line in line_amounts([_use(*what) for what in found if what[0] == month], PRICES)
    ]
    assert not opened
    assert _by_key(closed) == _by_key(at_once)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(USES)
def test_a_line_is_never_further_from_the_exact_amount_than_half_a_unit(
    found: list[tuple[str, tuple[int, str], str, int]],
) -> None:
    for line in line_amounts([_use(*what) for what in found], PRICES):
        price = PRICES[line.price_version]
        paid = line.billed_quantity - line.free_quantity
        exact = Fraction(paid * price.micro, QUANTITY_PER_UNIT[price.unit])
        assert abs(exact - line.amount_micro) <= Fraction(1, 2)
        assert 0 <= line.free_quantity <= min(line.billed_quantity, price.free_quantity)


def _use(month: str, priced: tuple[int, str], tenant: str, billed: int, corrects: str = "") -> Use:
    version, sku = priced
    return Use(
        tenant=tenant,
        sku=sku,
        price_version=version,
        corrects=corrects,
        quantity=billed,
        billed_quantity=billed,
    )


def _by_key(lines: list[Line]) -> dict[tuple[str, str, str, int], tuple[int, int, int]]:
    sums: dict[tuple[str, str, str, int], tuple[int, int, int]] = {}
    for line in lines:
        key = (line.corrects, line.tenant, line.sku, line.price_version)
        known = sums.get(key, (0, 0, 0))
        added = (line.billed_quantity, line.free_quantity, line.amount_micro)
        sums[key] = (known[0] + added[0], known[1] + added[1], known[2] + added[2])
    return {key: value for key, value in sums.items() if value != (0, 0, 0)}
