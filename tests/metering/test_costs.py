"""What does each device's time cost?"""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import pytest

from metering.device_day_builders import DAYS, FIRST, MONTH, USD, a_cost, a_day, a_place
from penstock_contracts.costs import CostVersion, TariffBand, fault_of, in_force
from penstock_metering.core.costs import Cells, cost_cells
from penstock_metering.core.device_days import STATES, DeviceDay, DeviceDays
from penstock_metering.core.months import MS_PER_DAY

KWH_MJ = 3_600_000_000


def cells_of(rows: list[DeviceDay], *costs: CostVersion) -> Cells:
    return cost_cells(DeviceDays(rows), costs, MONTH)


def total(cells: Cells, component: str, currency: str = "USD") -> int:
    found = cells.get((component, currency))
    return 0 if found is None else int(found.sum())


def by_state(cells: Cells, component: str) -> dict[str, int]:
    sums = cells[component, "USD"].sum(axis=0).tolist()
    return {state: micro for state, micro in zip(STATES, sums, strict=True) if micro}


def test_a_monthly_rent_is_paid_in_full_for_a_month_and_by_time_for_a_part_of_it() -> None:
    rent = a_cost("rent", 700 * USD)
    month = [a_day(day) for day in DAYS]
    assert total(cells_of(month, rent), "rent") == 700 * USD
    assert total(cells_of(month[:15], rent), "rent") == 350 * USD


def test_depreciation_is_linear_and_ends_with_the_life() -> None:
    bought = a_cost("purchase", 36_000 * USD, FIRST + 10, residual_micro=6_000 * USD, life_days=5)
    month = [a_day(day) for day in DAYS]
    assert total(cells_of(month, bought), "depreciation") == 30_000 * USD
    assert total(cells_of(month[:12], bought), "depreciation") == 12_000 * USD


def test_fixed_costs_fall_on_states_by_their_time() -> None:
    rows = [a_day(sold_used=6, sold_idle=6, broken=9)]
    hourly = cells_of(rows, a_cost("hosting", 1 * USD, every="hour"))
    assert by_state(hourly, "hosting") == {
        "sold_used": 6 * USD, "sold_idle": 6 * USD, "free_no_demand": 3 * USD, "broken": 9 * USD,
    }  # fmt: skip


def test_a_cost_per_node_is_paid_once_and_divided_among_its_devices() -> None:
    rows = [a_day(device=f"g{index}") for index in range(3)]
    cells = cells_of(rows, a_cost("hosting", 1 * USD, every="hour", per="node"))
    parts = cells["hosting", "USD"].sum(axis=1).tolist()
    assert parts == [8 * USD] * 3


def test_the_most_specific_cost_counts_and_of_these_the_newest() -> None:
    costs = [
        a_cost("rent", 1, number=1),
        a_cost("rent", 2, number=2, site="oslo"),
        a_cost("rent", 3, number=3, model="H100"),
        a_cost("rent", 4, number=4, node="n1"),
        a_cost("rent", 5, number=5, node="n1", from_day=FIRST),
        a_cost("rent", 6, number=6, device="g7"),
    ]

    def micro(day: int, **place: str) -> int:
        found = in_force(costs, "rent", "device", a_place(**place), day * MS_PER_DAY)
        return 0 if found is None else found.micro

    assert micro(FIRST) == 5 and micro(FIRST - 1) == 4
    assert micro(FIRST, device="g7") == 6
    assert micro(FIRST, node="n2") == 3
    assert micro(FIRST, node="n2", model="A100") == 2
    assert micro(FIRST, node="n2", model="A100", site="bergen") == 1


def test_a_cost_changes_in_the_middle_of_a_month_for_the_days_after_it() -> None:
    month = [a_day(day) for day in DAYS]
    costs = (
        a_cost("rent", 300 * USD, number=1),
        a_cost("rent", 600 * USD, number=2, from_day=FIRST + 10),
    )
    assert total(cells_of(month, *costs), "rent") == 100 * USD + 400 * USD


def test_energy_costs_what_its_quarter_of_an_hour_costs_in_local_time() -> None:
    """Oslo is an hour ahead in winter: its night tariff from 22 to 6 is from 21 to 5 in UTC."""
    night = tuple(KWH_MJ if quarter // 4 in {21, 22, 23, 0, 1, 2, 3, 4} else 0
                  for quarter in range(96))  # fmt: skip
    row = a_day(energy_mj=sum(night), quarters_mj=night, energy_known_ms=MS_PER_DAY)
    tariff = a_cost(
        "energy",
        bands=(TariffBand(0, 100_000), TariffBand(360, 300_000), TariffBand(1_320, 100_000)),
        utc_offset_minutes=60,
    )
    assert total(cells_of([row], tariff), "energy") == 32 * 100_000
    in_utc = a_cost("energy", bands=tariff.bands)
    assert total(cells_of([row], in_utc), "energy") == 28 * 100_000 + 4 * 300_000


def test_what_the_building_draws_beside_is_paid_too() -> None:
    row = a_day(energy_mj=10 * KWH_MJ, energy_known_ms=MS_PER_DAY)
    assert total(cells_of([row], a_cost("energy", 200_000, overhead_milli=1_250)), "energy") == (
        2_500_000
    )


def test_energy_falls_on_the_states_in_which_it_was_drawn() -> None:
    row = a_day(sold=12, broken=3, energy_mj=10 * KWH_MJ, energy_sold_mj=8 * KWH_MJ)
    cells = cells_of([row], a_cost("energy", 1 * USD))
    assert by_state(cells, "energy") == {
        "sold": 8 * USD, "free_no_demand": 1_500_000, "broken": 500_000,
    }  # fmt: skip


def test_energy_that_nobody_measured_costs_nothing_and_is_not_guessed() -> None:
    assert total(cells_of([a_day(sold=24)], a_cost("energy", 1 * USD)), "energy") == 0


def test_costs_in_two_currencies_are_never_added() -> None:
    rows = [a_day()]
    cells = cells_of(
        rows,
        a_cost("rent", 1 * USD, every="hour", currency="EUR"),
        a_cost("hosting", 2 * USD, every="hour"),
    )
    assert (total(cells, "rent", "EUR"), total(cells, "hosting")) == (24 * USD, 48 * USD)
    assert total(cells, "rent") == 0


def test_amounts_equal_exact_arithmetic_rounded_once() -> None:
    draw = random.Random(5)
    for _ in range(100):
        micro, life = draw.randint(1, 10**11), draw.randint(30, 3_000)
        rows = [
            a_day(day, f"g{index}", sold_used=draw.random() * 20, broken=draw.random() * 3)
            for day in DAYS[: draw.randint(1, 30)]
            for index in range(3)
        ]
        cells = cells_of(rows, a_cost("purchase", micro, FIRST, life_days=life))
        ordered = sorted(rows)
        for device in ("g0", "g1", "g2"):
            own = [at for at, row in enumerate(ordered) if row.device == device]
            time = sum(sum(ordered[at].milli_ms) for at in own)
            exact = Fraction(micro * time, life * MS_PER_DAY * 1_000)
            assert int(cells["depreciation", "USD"][own].sum()) == round(exact)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"kind": "rent", "effective_from_ms": 1}, "begins with a day"),
        ({"kind": "energy", "per": "node"}, "a cost per node is"),
        ({"kind": "rent", "per": "node", "model": "H100"}, "a cost per node is"),
        ({"kind": "purchase"}, "life_days"),
        ({"kind": "purchase", "life_days": 1, "residual_micro": 1}, "not worth more"),
        ({"kind": "energy", "bands": (TariffBand(15, 1),)}, "begin at minute 0"),
        ({"kind": "energy", "bands": (TariffBand(0, 1), TariffBand(7, 1))}, "quarters of an hour"),
        ({"kind": "rent", "share_ppm": 1}, "share_ppm does not belong to rent"),
    ],
)
def test_a_cost_that_would_mean_something_else_is_refused(
    wrong: dict[str, Any], sentence: str
) -> None:
    cost = CostVersion(**{"effective_from_ms": 0, **wrong})
    assert sentence in fault_of(cost)
