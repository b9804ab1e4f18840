"""Do the charges of a month sum to its lines, whatever was used?"""

from __future__ import annotations

from collections import defaultdict

import pytest

from focus.builders import BY_VERSION, GPU_HOUR, lines, uses
from penstock_contracts.exports import Charge
from penstock_metering.core.charges import BilledLine, Dealer, UseOfDay
from penstock_metering.core.lines import Line

Key = tuple[str, str, int, str]


def a_use(**changes: object) -> UseOfDay:
    plain = UseOfDay(
        day=20_000, tenant="acme", project="", tier="", site="", node="n1", device="GPU-1",
        model="H100", sku="gpu/H100", price_version=3, corrects="", consumed=900, billed=1_000,
    )  # fmt: skip
    return plain._replace(**changes)


def a_line(**changes: object) -> Line:
    fields: dict[str, object] = {
        "tenant": "acme", "sku": "gpu/H100", "price_version": 3, "currency": "USD",
        "quantity": 900, "billed_quantity": 1_000, "free_quantity": 0, "amount_micro": 7,
    }  # fmt: skip
    return Line(**(fields | changes))  # type: ignore[arg-type]


def dealt(found: list[UseOfDay], *made: Line) -> list[Charge]:
    return list(Dealer([BilledLine(own) for own in made], BY_VERSION).deal(found))


def sums(charges: list[Charge], what: str) -> dict[Key, int]:
    found: dict[Key, int] = defaultdict(int)
    for own in charges:
        found[own.tenant, own.sku, own.price_version, own.corrects] += getattr(own, what) or 0
    return found


@pytest.mark.parametrize("seed", range(40))
def test_charges_sum_to_their_lines_to_the_last_micro_and_milli_ms(seed: int) -> None:
    found = uses(seed, count=300)
    made = lines(found)
    charges = list(Dealer(made, BY_VERSION).deal(found))
    assert all(charge.corrects for charge in charges if charge.day is None)
    for what, of_use in (("consumed", "consumed"), ("priced", "billed")):
        expected: dict[Key, int] = defaultdict(int)
        for use in found:
            key = (use.tenant, use.sku, use.price_version, use.corrects)
            expected[key] += getattr(use, of_use)
        got = sums(charges, what)
        assert {key: got[key] for key in expected} == expected
    billed = sums(charges, "billed_micro")
    for own in made:
        line = own.line
        key = (line.tenant, line.sku, line.price_version, line.corrects)
        assert billed.pop(key) == line.amount_micro
    assert not any(billed.values())


def test_a_free_allowance_covers_the_first_use_and_splits_the_one_it_ends_in() -> None:
    found = [a_use(day=1, billed=1_000), a_use(day=2, billed=1_000, consumed=500)]
    line = a_line(billed_quantity=2_000, free_quantity=1_400, amount_micro=60)
    charges = dealt(found, line)
    assert [(c.day, c.kind, c.priced, c.consumed, c.billed_micro) for c in charges] == [
        (1, "free", 1_000, 900, 0),
        (2, "free", 400, 200, 0),
        (2, "usage", 600, 300, 60),
    ]


def test_a_correction_without_use_to_stand_on_is_a_charge_of_its_own() -> None:
    line = a_line(corrects="2026-10", quantity=0, billed_quantity=0, amount_micro=-5)
    (charge,) = dealt([], line)
    assert (charge.billed_micro, charge.corrects, charge.node, charge.day) == (
        -5,
        "2026-10",
        "",
        None,
    )


def test_what_a_correction_takes_back_stands_on_the_device_it_was_used_on() -> None:
    found = [
        a_use(corrects="2026-10", device="GPU-1", consumed=-GPU_HOUR, billed=-GPU_HOUR),
        a_use(corrects="2026-10", device="GPU-2", consumed=3 * GPU_HOUR, billed=3 * GPU_HOUR),
    ]
    line = a_line(corrects="2026-10", billed_quantity=2 * GPU_HOUR, amount_micro=6_666_667)
    charges = dealt(found, line)
    assert [(c.device, c.billed_micro) for c in charges] == [
        ("GPU-1", -3_333_333),
        ("GPU-2", 9_999_999),
        ("", 1),
    ]


def test_use_without_a_price_costs_nothing_and_is_told() -> None:
    (charge,) = dealt([a_use(price_version=0)])
    assert (charge.billed_micro, charge.consumed, charge.price_version) == (0, 900, 0)
    assert charge.currency == "USD"


def test_the_list_price_is_what_others_pay() -> None:
    charges = dealt(
        [a_use(price_version=4), a_use(price_version=5, tier="spot")],
        a_line(price_version=4),
        a_line(price_version=5),
    )
    assert [charge.list_version for charge in charges] == [3, 5]
