"""Does a file hold what FOCUS 1.4 asks for, column by column and row by row?"""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest

from focus.builders import MONTH, a_page, lines, uses
from focus.specification import (
    COMPANIONS,
    FOCUS_1_4,
    MANDATORY_1_2,
    NUMBER,
    OBJECT,
    PRICED,
    PRODUCTS,
    TIME,
    Asked,
    M,
)
from penstock_client.focus.columns import Version, columns_of
from penstock_client.focus.files import FocusFile
from penstock_client.focus.rows import rows_of

Rows = list[dict[str, str]]
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
PLAIN_NUMBER = re.compile(r"-?\d+\.\d+")
CASES = [(closed, provider) for closed in (True, False) for provider in (False, True)]


def written(path: Path, version: Version = "1.4", *, closed: bool, provider: bool) -> Rows:
    with FocusFile(path, columns_of(version, provider=provider)) as file:
        file.write(rows_of(a_page(closed=closed, provider=provider)))
    with path.open(newline="") as source:
        return list(csv.DictReader(source))


@pytest.fixture(params=CASES, ids=lambda case: f"closed={case[0]}-provider={case[1]}")
def rows(request: pytest.FixtureRequest, tmp_path: Path) -> Rows:
    closed, provider = request.param
    return written(tmp_path / "month.csv", closed=closed, provider=provider)


def test_a_file_has_all_columns_of_its_version_in_order_and_own_ones_behind(
    tmp_path: Path,
) -> None:
    for provider in (False, True):
        names = list(written(tmp_path / "a.csv", closed=True, provider=provider)[0])
        assert names[:65] == sorted(asked.name for asked in FOCUS_1_4)
        assert all(re.fullmatch(r"x_[A-Z][A-Za-z]+", name) for name in names[65:])
    older = [c.name for c in columns_of("1.2") if not c.name.startswith("x_")]
    assert older == sorted(older)
    assert set(older) >= MANDATORY_1_2
    assert len(MANDATORY_1_2) == 21
    assert sum(asked.level == M for asked in FOCUS_1_4) == 22


@pytest.mark.parametrize("asked", FOCUS_1_4, ids=lambda asked: asked.name)
def test_every_value_is_of_its_type_and_allowed(rows: Rows, asked: Asked) -> None:
    for row in rows:
        value = row[asked.name]
        if value == "":
            assert asked.nulls, row
            continue
        assert value.strip() == value
        if asked.allowed:
            assert value in asked.allowed
        if asked.type == NUMBER:
            assert PLAIN_NUMBER.fullmatch(value)
        if asked.type == TIME:
            assert INSTANT.fullmatch(value)
        if asked.type == OBJECT:
            assert all(
                isinstance(part, str | int | float | bool | None)
                for part in json.loads(value).values()
            )


def test_what_belongs_together_is_there_together(rows: Rows) -> None:
    for row in rows:
        for one, other in COMPANIONS:
            assert bool(row[one]) == bool(row[other]), (one, other, row)


def test_unit_prices_times_quantity_are_costs_to_the_last_digit(rows: Rows) -> None:
    for row in rows:
        for price, cost in PRODUCTS:
            if row[price]:
                assert Decimal(row[price]) >= 0
                assert Decimal(row[price]) * Decimal(row["PricingQuantity"]) == Decimal(row[cost])
            else:
                assert Decimal(row[cost]) == Decimal(row["BilledCost"])


def test_use_is_priced_and_nothing_else_is(rows: Rows) -> None:
    for row in rows:
        is_use = row["ChargeCategory"] == "Usage"
        assert all(bool(row[name]) is is_use for name in PRICED), row
        assert bool(row["ConsumedQuantity"]) is is_use
        assert (row["ChargeFrequency"] == "Usage-Based") is is_use
        assert row["EffectiveCost"] == row["BilledCost"]


def test_only_what_concerns_a_closed_month_is_a_correction(rows: Rows) -> None:
    corrections = [row for row in rows if row["ChargeClass"]]
    assert corrections
    for row in rows:
        in_month = row["ChargePeriodStart"].startswith(MONTH)
        assert in_month is not bool(row["ChargeClass"])
        assert row["ChargePeriodStart"] < row["ChargePeriodEnd"]
        assert row["BillingPeriodStart"] == "2026-11-01T00:00:00Z"
        assert row["BillingPeriodEnd"] == "2026-12-01T00:00:00Z"


def test_one_sku_price_has_one_sku_one_list_price_and_one_description(rows: Rows) -> None:
    known: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    names = ("SkuId", "SkuMeter", "SkuPriceDetails", "ListUnitPrice", "PricingUnit")
    for row in rows:
        if row["SkuPriceId"]:
            known[row["SkuPriceId"]].add(tuple(row[name] for name in names))
    assert len(known) > 4
    assert all(len(found) == 1 for found in known.values()), known


def test_a_tenants_discount_shows_as_less_than_the_list_price(rows: Rows) -> None:
    discounted = [row for row in rows if row["x_PriceVersion"] == "4" and not row["ChargeClass"]]
    assert discounted
    for row in discounted:
        assert row["ListUnitPrice"] == "3.333333"
        assert row["ContractedUnitPrice"] == "2.666667"
        assert row["SkuPriceId"] == "gpu/H100/3"


def test_spot_is_dynamic_and_what_an_allowance_covers_costs_nothing(rows: Rows) -> None:
    spot = {row["PricingCategory"] for row in rows if row["x_Tier"] == "spot"}
    assert spot == {"Dynamic"}
    free = [row for row in rows if "free allowance" in row["ChargeDescription"]]
    assert free
    for row in free:
        assert Decimal(row["BilledCost"]) == Decimal(row["ContractedUnitPrice"]) == 0
        assert Decimal(row["ListCost"]) > 0


def test_rows_of_an_invoice_sum_to_it_and_an_open_month_has_none(tmp_path: Path) -> None:
    for provider in (False, True):
        found = written(tmp_path / "a.csv", closed=True, provider=provider)
        sums: dict[str, Decimal] = defaultdict(Decimal)
        for row in found:
            sums[row["InvoiceId"]] += Decimal(row["BilledCost"])
        for own in lines(uses()):
            sums[own.invoice] -= Decimal(own.line.amount_micro).scaleb(-6)
        assert sums.pop("", Decimal(0)) == (3 if provider else 0)
        assert sums.pop("CRN-000001") == -5
        assert sums.pop("INV-000007-0") == Decimal("-0.003321")
        assert set(sums.values()) == {Decimal(0)}
    found = written(tmp_path / "b.csv", closed=False, provider=False)
    assert {row["InvoiceId"] for row in found} == {row["InvoiceDetailId"] for row in found} == {""}


def test_costs_and_idle_time_are_for_the_provider_alone(tmp_path: Path) -> None:
    tenants = written(tmp_path / "a.csv", closed=True, provider=False)
    assert not [
        name for name in tenants[0] if re.search("Margin|Cost$|Idle", name[2:]) and name[0] == "x"
    ]
    found = written(tmp_path / "b.csv", closed=True, provider=True)
    split = [row for row in found if row["AllocatedMethodId"]]
    idle = [row for row in split if row["x_IdleReason"]]
    assert len(split) == 2
    assert [row["AllocatedResourceId"] for row in idle] == [""]
    assert {row["SubAccountId"] for row in idle} == {""}
    assert [row["x_ProviderCost"] for row in split] == ["2.010000", "4.947143"]
    assert [row["x_Margin"] for row in split] == ["-2.010000", "-1.947143"]
