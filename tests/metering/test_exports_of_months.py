"""Is the export of a month, open or closed, what bills and profit and loss say of it?"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from metering.conftest import Ledger
from metering.test_closing import FEBRUARY, HOUR_MS, JANUARY, a_run_told_later, bills, close
from metering.world import World
from penstock_contracts.bills import CreditInvoice
from penstock_contracts.costs import CostVersion, SetCost
from penstock_contracts.exports import Charge, ExportPage, ExportQuery
from penstock_contracts.ids import ulid
from penstock_contracts.price_book import SetPrice
from penstock_contracts.profits import ProfitQuery, ProfitView
from penstock_metering.bills.closing import credit_invoice
from penstock_metering.core.months import month_bounds_ms
from penstock_metering.costs.book import set_cost
from penstock_metering.costs.profits import answer_profit
from penstock_metering.exports.pages import Exports
from penstock_metering.rating.price_book import set_price
from penstock_metering.threads import run_inline

NOW_MS = month_bounds_ms(FEBRUARY)[1]


def export(ledger: Ledger, month: str, *, provider: bool = False) -> list[Charge]:
    desk = Exports(ledger.database, run_inline)
    page = desk.begin(NOW_MS, ExportQuery(month=month, provider=provider))
    charges: list[Charge] = []
    while True:
        assert isinstance(page, ExportPage), page
        charges += page.charges
        if not page.more:
            return charges
        page = desk.turn(ExportQuery(export=page.export, page=page.page + 1))


def order(ledger: Ledger, command: Any, wish: Any, at_ms: int) -> None:
    answer = ledger.ingest.change(lambda connection: command(connection, wish, at_ms))
    assert "Refusal" not in type(answer).__name__, answer


@pytest.fixture
def sold(ledger: Ledger, world: World) -> World:
    """Four devices; a list price, a discount, spot; one run of which an hour is told late."""
    world.a_node("n1", gpus=4)
    ledger.take_all(world)
    prices: tuple[dict[str, Any], ...] = (
        {"micro": 3_000_001},
        {"tenant": "acme", "discount_ppm": 125_000},
        {"tier": "spot", "micro": 1_234_567},
    )
    for number, price in enumerate(prices):
        key = ulid(world.now_ms, number)
        wish = SetPrice(key=key, sku="gpu/H100", effective_from_ms=world.now_ms, **price)
        order(ledger, set_price, wish, world.now_ms)
    world.a_run("n1", ("SIM-n1-0",), HOUR_MS, tenant="acme", project="vision")
    world.a_run("n1", ("SIM-n1-1", "SIM-n1-2"), HOUR_MS // 7, tenant="bolt", gpus=2, tier="spot")
    world.a_run("n1", ("SIM-n1-0",), HOUR_MS // 3, tenant="bolt")
    a_run_told_later(world)
    ledger.take_all(world)
    return world


def by_invoice(charges: list[Charge]) -> dict[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for charge in charges:
        sums[charge.invoice] += charge.billed_micro
    return dict(sums)


def test_a_closed_months_rows_sum_to_its_documents(ledger: Ledger, sold: World) -> None:
    before = export(ledger, JANUARY)
    close(ledger, JANUARY)
    found = export(ledger, JANUARY)
    issued = bills(ledger, JANUARY).bills
    assert len(issued) == 2
    assert by_invoice(found) == {bill.number: bill.total_micro for bill in issued}
    use = [charge for charge in found if charge.kind == "usage"]
    assert [(c.tenant, c.device, c.tier, c.billed_micro) for c in use] == [
        (c.tenant, c.device, c.tier, c.billed_micro) for c in before
    ]
    lines = {(bill.number, line.number) for bill in issued for line in bill.lines}
    assert {(c.invoice, c.invoice_line) for c in found} <= lines
    (discounted,) = [c for c in use if c.project == "vision"]
    assert discounted.list_version != discounted.price_version
    assert {c.list_version for c in use if c.tenant == "bolt" and c.tier == "on_demand"} == {
        discounted.list_version
    }


def test_what_comes_late_and_credit_notes_stand_in_the_next_month_as_corrections(
    ledger: Ledger, sold: World
) -> None:
    close(ledger, JANUARY)
    kept = export(ledger, JANUARY)
    sold.agents["n1"].send()
    ledger.take_all(sold)
    note = CreditInvoice(key="K", invoice="INV-000001", amount_micro=500_000, reason="An outage")
    order(ledger, credit_invoice, note, NOW_MS - 1)
    close(ledger, FEBRUARY)
    assert export(ledger, JANUARY) == kept
    found = export(ledger, FEBRUARY)
    assert by_invoice(found) == {
        bill.number: bill.total_micro for bill in bills(ledger, FEBRUARY).bills
    }
    late = [charge for charge in found if charge.kind == "usage"]
    assert [(c.device, c.corrects, c.consumed) for c in late if c.device] == [
        ("SIM-n1-3", JANUARY, 1_000 * HOUR_MS)
    ]
    (credit,) = [charge for charge in found if charge.kind == "credit"]
    assert (credit.billed_micro, credit.text) == (-500_000, "An outage")
    assert credit.corrects == JANUARY


def test_the_providers_rows_sum_to_profit_and_loss(ledger: Ledger, sold: World) -> None:
    sold.agents["n1"].send()
    ledger.take_all(sold)
    start_ms = month_bounds_ms(JANUARY)[0]
    costs = (
        CostVersion(
            kind="purchase", effective_from_ms=start_ms, micro=28_000_000_000, life_days=1_460
        ),
        CostVersion(kind="hosting", effective_from_ms=start_ms, micro=900_000_000, per="node"),
        CostVersion(
            kind="payout", effective_from_ms=start_ms, share_ppm=700_000, micro=50_000, owner="Ada"
        ),
        CostVersion(kind="rent", effective_from_ms=start_ms, micro=20_000_000, currency="EUR"),
    )
    for number, cost in enumerate(costs):
        order(ledger, set_cost, SetCost(f"K{number}", cost), NOW_MS)
    with ledger.database.reading.begin() as connection:
        profit = answer_profit(connection, ProfitQuery(month=JANUARY), NOW_MS)
    assert isinstance(profit, ProfitView)
    found = export(ledger, JANUARY, provider=True)
    sums: dict[tuple[str, str], int] = defaultdict(int)
    idle: dict[tuple[str, str], int] = defaultdict(int)
    for charge in found:
        for component, micro in charge.costs.items():
            sums[charge.cost_currency, component] += micro
            if charge.idle not in ("", "sold"):
                idle[charge.cost_currency, charge.idle] += micro
    for line in profit.totals:
        for component in ("payout", "depreciation", "rent", "hosting", "energy"):
            told = sums.get((line.currency, component), 0)
            assert told == getattr(line, f"{component}_micro"), (component, line)
        assert sum(c.billed_micro for c in found if c.currency == line.currency) == (
            line.revenue_micro
        )
    why = {(own.currency, own.reason): own.cost_micro for own in profit.idle if own.cost_micro}
    assert {key: micro for key, micro in idle.items() if micro} == why
    plain = export(ledger, JANUARY)
    assert [c.billed_micro for c in plain] == [c.billed_micro for c in found if not c.idle]
    assert not any(charge.costs or charge.idle for charge in plain)
