"""What remains of what was earned, and do all views of it sum to the same?"""

from __future__ import annotations

import random

import pytest

from metering.device_day_builders import (
    DAYS,
    FIRST,
    MONTH,
    USD,
    a_cost,
    a_day,
    a_line,
    some_sales,
)
from penstock_contracts.costs import CostVersion
from penstock_contracts.profits import NOT_BILLED, NOT_SOLD, ProfitLine
from penstock_metering.core.costs import cost_cells
from penstock_metering.core.device_days import DeviceDays
from penstock_metering.core.profit import Tally, idle_times, tally_by_owner, tally_by_place
from penstock_metering.core.sales import Earnings, Sales, earnings
from penstock_metering.core.verdicts import line_of, lines_of, totals_of

HOUR = 3_600_000 * 1_000


def by_place(by: str, days: DeviceDays, sales: Sales, *costs: CostVersion) -> Tally:
    cells = cost_cells(days, costs, MONTH)
    return tally_by_place(by, days, cells, sales, earnings(sales, costs))


def by_owner(days: DeviceDays, sales: Sales, *costs: CostVersion) -> Tally:
    return tally_by_owner(days, cost_cells(days, costs, MONTH), sales, earnings(sales, costs))


def lines(tally: Tally) -> dict[str, ProfitLine]:
    return {line.key: line for line in lines_of(tally, 100)[0]}


def test_a_device_earns_what_it_sold_less_what_all_its_time_cost() -> None:
    days = DeviceDays([a_day(sold_used=12, broken=6)])
    sales = some_sales(days, [a_line(24 * USD)], [(0, "astro", 0, 12 * HOUR, 12 * HOUR)])
    line = lines(by_place("device", days, sales, a_cost("rent", 1 * USD, every="hour")))["n1/g0"]
    assert (line.revenue_micro, line.rent_micro, line.profit_micro) == (24 * USD, 24 * USD, 0)
    assert (line.idle_micro, line.sold_milli_ms, line.capacity_milli_ms) == (
        12 * USD, 12 * HOUR, 24 * HOUR,
    )  # fmt: skip
    assert line.break_even_micro == 2 * USD
    assert line.break_even_ppm == 500_000


def test_tenants_bear_the_cost_of_sold_time_by_time_and_nobody_that_of_the_rest() -> None:
    days = DeviceDays([a_day(sold_used=12, draining=4), a_day(device="g1", sold=2)])
    sales = some_sales(
        days,
        [a_line(20 * USD), a_line(4 * USD)],
        [(0, "astro", 0, 9 * HOUR, 9 * HOUR), (0, "bio", 1, 3 * HOUR, 3 * HOUR)],
    )
    found = lines(by_owner(days, sales, a_cost("hosting", 1 * USD, every="hour")))
    costs = {key: line.cost_micro // USD for key, line in found.items()}
    assert costs == {"astro": 9, "bio": 3, NOT_SOLD: 34, NOT_BILLED: 2}
    assert found["astro"].profit_micro == 11 * USD


def test_idle_time_is_told_by_reason_with_what_it_cost() -> None:
    days = DeviceDays([a_day(sold_used=10, free_fragmented=2, broken=12)])
    sales = some_sales(days, [], [])
    tally = by_place("model", days, sales, a_cost("rent", 1 * USD, every="hour"))
    assert {one.reason: (one.milli_ms, one.cost_micro) for one in idle_times(tally)} == {
        "free_fragmented": (2 * HOUR, 2 * USD), "broken": (12 * HOUR, 12 * USD),
    }  # fmt: skip


def test_owners_of_borrowed_hosts_get_their_share_and_so_much_an_hour() -> None:
    days = DeviceDays([a_day(sold_used=10), a_day(node="n2", sold_used=5)])
    sales = some_sales(
        days,
        [a_line(30 * USD)],
        [(0, "astro", 0, 10 * HOUR, 10 * HOUR), (1, "astro", 0, 5 * HOUR, 5 * HOUR)],
    )
    payout = a_cost("payout", 100_000, node="n2", share_ppm=700_000, owner="Ada")
    made = earnings(sales, [payout])
    assert made.payouts == {("Ada", "USD"): 7_500_000}
    found = lines(tally_by_place("node", days, {}, sales, made))
    assert (found["n1"].payout_micro, found["n2"].payout_micro) == (0, 7_500_000)


def test_an_owner_gives_back_a_share_of_what_is_taken_back() -> None:
    days = DeviceDays([a_day(sold_used=10)])
    sales = some_sales(
        days,
        [a_line(30 * USD), a_line(-4 * USD)],
        [(0, "astro", 0, 10 * HOUR, 10 * HOUR), (0, "astro", 1, 0, -2 * HOUR)],
    )
    made = earnings(sales, [a_cost("payout", share_ppm=500_000, owner="Ada")])
    assert made.payouts == {("Ada", "USD"): 13 * USD}
    assert made.shares["USD"].tolist() == [15 * USD, -2 * USD]


def test_a_line_that_takes_back_more_than_it_bills_still_sums_to_itself() -> None:
    days = DeviceDays([a_day(sold_used=10), a_day(FIRST + 1, sold_used=5)])
    sales = some_sales(
        days,
        [a_line(-6_000_001), a_line(-3)],
        [
            (0, "astro", 0, 0, -5 * HOUR),
            (1, "astro", 0, 2 * HOUR, 2 * HOUR),
            (1, "astro", 1, 0, -1),
        ],
    )
    revenue = earnings(sales, []).revenue["USD"].tolist()
    assert revenue == [-10 * USD, 4 * USD - 1, -3]


def test_break_even_utilisation_counts_the_energy_that_selling_more_takes() -> None:
    """10 h sold at 3.00 of 24; energy 1.00 an hour sold and 0.25 an hour idle; 12.00 fixed."""
    days = DeviceDays(
        [a_day(sold=10, energy_mj=27 * 1_800_000_000, energy_sold_mj=20 * 1_800_000_000)]
    )
    sales = some_sales(days, [a_line(30 * USD)], [(0, "astro", 0, 10 * HOUR, 10 * HOUR)])
    energy, rent = a_cost("energy", 1 * USD), a_cost("rent", 500_000, every="hour")
    line = lines(by_place("device", days, sales, energy, rent))["n1/g0"]
    assert (line.energy_micro, line.rent_micro) == (13_500_000, 12 * USD)
    # u·24·(3 − 1) = 12 + (1 − u)·24·0.25
    assert line.break_even_ppm == -(-18 * 1_000_000 // 54)
    assert line.break_even_micro == 2_550_000


def test_no_utilisation_is_enough_below_what_selling_costs() -> None:
    days = DeviceDays([a_day(sold=12, energy_mj=10**13, energy_sold_mj=10**13)])
    sales = some_sales(days, [a_line(1)], [(0, "astro", 0, 12 * HOUR, 12 * HOUR)])
    assert lines(by_place("device", days, sales, a_cost("energy", USD)))[
        "n1/g0"
    ].break_even_ppm is (None)


@pytest.mark.parametrize(
    ("day", "sentence"),
    [
        ({"sold_used": 6, "broken": 12}, "broken for 50.0 % of the time, which cost 12.00 USD"),
        ({"sold_used": 2, "held": 4}, "free with nobody asking for it for 75.0 % of the time"),
        ({"sold_used": 24}, "sold 100.0 % of the time at 0.50 USD a GPU-hour, which costs 1.00"),
    ],
)
def test_a_loss_is_told_with_its_greatest_cause(day: dict[str, int], sentence: str) -> None:
    days = DeviceDays([a_day(**day)])
    ran = day["sold_used"] * HOUR
    sales = some_sales(days, [a_line(day["sold_used"] * 500_000)], [(0, "a", 0, ran, ran)])
    tally = by_place("device", days, sales, a_cost("rent", 1 * USD, every="hour"))
    assert sentence in line_of(tally, 0, "USD").why


def test_the_worst_come_first_and_the_rest_is_summed_up() -> None:
    days = DeviceDays([a_day(device=f"g{index}", broken=index) for index in range(5)])
    sales = some_sales(days, [], [])
    costs = [a_cost("rent", index * USD, device=f"g{index}") for index in range(5)]
    shown, others = lines_of(by_place("device", days, sales, *costs), 2)
    assert [line.key for line in shown] == ["n1/g4", "n1/g3"]
    assert [line.key for line in others] == ["3 others"]


def test_every_view_sums_to_the_same_profit_cost_by_cost() -> None:
    draw = random.Random(11)
    for _ in range(20):
        days, sales, costs = a_random_month(draw)
        cells = cost_cells(days, costs, MONTH)
        made = earnings(sales, costs)
        views = [
            *(tally_by_place(by, days, cells, sales, made) for by in ("device", "model", "site")),
            tally_by_owner(days, cells, sales, made),
        ]
        first = [told(line) for line in totals_of(views[0])]
        assert all([told(line) for line in totals_of(view)] == first for view in views)
        for view in views:
            shown, others = lines_of(view, 3)
            for currency in view.currencies:
                own = [line for line in (*shown, *others) if line.currency == currency]
                [total] = [line for line in totals_of(view) if line.currency == currency]
                assert sum(line.profit_micro for line in own) == total.profit_micro
        check_against_lines(sales, made)


def told(line: ProfitLine) -> tuple[int | str, ...]:
    return (
        line.currency, line.revenue_micro, line.payout_micro, line.energy_micro,
        line.depreciation_micro, line.rent_micro, line.hosting_micro, line.idle_micro,
        line.profit_micro,
    )  # fmt: skip


def check_against_lines(sales: Sales, made: Earnings) -> None:
    """What sales brought sums to what is billed."""
    for currency, revenue in made.revenue.items():
        used = set(sales.line.tolist())
        billed = [
            line.amount_micro
            for at, line in enumerate(sales.lines)
            if line.currency == currency and at in used
        ]
        assert int(revenue.sum()) == sum(billed)


def a_random_month(draw: random.Random) -> tuple[DeviceDays, Sales, list[CostVersion]]:
    rows = [
        a_day(
            day, f"g{index}", node=f"n{index % 2}", model=draw.choice(["H100", "A100"]),
            site=draw.choice(["oslo", ""]), sold_used=draw.randint(0, 8), held=draw.randint(0, 2),
            broken=draw.randint(0, 4), energy_mj=draw.randint(0, 10**11),
            energy_sold_mj=draw.choice([None, draw.randint(0, 10**10)]),
        )
        for day in DAYS[:10]
        for index in range(4)
    ]  # fmt: skip
    days = DeviceDays(rows)
    made = [a_line(draw.randint(-(10**9), 10**9), draw.choice(["USD", "EUR"])) for _ in range(5)]
    sold = [
        (
            draw.randrange(len(days)), f"t{draw.randrange(4)}", draw.randrange(-1, 5),
            draw.randint(0, HOUR), draw.randint(-HOUR, 5 * HOUR),
        )
        for _ in range(200)
    ]  # fmt: skip
    costs = [
        a_cost("purchase", 10**10, life_days=40_000, model="H100"),
        a_cost("rent", 10**9, currency="EUR"),
        a_cost("hosting", 10**8, per="node", from_day=FIRST + 3),
        a_cost("energy", 250_000, overhead_milli=1_200),
        a_cost("payout", 10_000, node="n1", share_ppm=333_333, owner="Ada"),
    ]
    return days, some_sales(days, made, sold), costs
