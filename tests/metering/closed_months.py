"""How do tests close a month, and ask what became of it?"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from metering.conftest import Ledger
from metering.world import World
from penstock_contracts.bills import (
    Bill,
    BillsQuery,
    BillsView,
    ClosePeriod,
    PeriodClosed,
)
from penstock_metering.bills import tables as bill_tables
from penstock_metering.bills.closing import close_period
from penstock_metering.bills.views import answer_bills
from penstock_metering.core.months import month_bounds_ms, month_of

HOUR_MS = 3_600_000
JANUARY, FEBRUARY, MARCH = "2027-01", "2027-02", "2027-03"


def changed(ledger: Ledger, command: Any, wish: Any, now_ms: int) -> Any:
    return ledger.ingest.change(lambda connection: command(connection, wish, now_ms))


def asked(ledger: Ledger, answer: Any, question: Any, now_ms: int) -> Any:
    return ledger.library.look_up(answer, now_ms, question)


def close(ledger: Ledger, month: str = "", *, at: str = "") -> PeriodClosed:
    """At the beginning of month `at`, or right when it is over."""
    now_ms = month_bounds_ms(at)[0] if at else month_bounds_ms(month)[1]
    closed = changed(ledger, close_period, ClosePeriod(key="K", month=month), now_ms)
    assert isinstance(closed, PeriodClosed), closed
    return closed


def bills(ledger: Ledger, month: str, tenant: str = "") -> BillsView:
    view = asked(ledger, answer_bills, BillsQuery(month, tenant), month_bounds_ms(month)[1])
    assert isinstance(view, BillsView)
    return view


def the_bill(ledger: Ledger, month: str) -> Bill:
    (bill,) = bills(ledger, month).bills
    return bill


def facts(ledger: Ledger) -> dict[str, Any]:
    """What closing wrote."""
    tables = ("periods", "invoices", "invoice_lines", "postings")
    return {name: rows for name, rows in ledger.contents().items() if name in tables}


def imbalances(ledger: Ledger) -> list[Any]:
    of = bill_tables.postings.c
    with ledger.database.reading.begin() as connection:
        return list(
            connection.execute(
                sa.select(of.entry, of.currency, sa.func.sum(of.amount_micro))
                .group_by(of.entry, of.currency)
                .having(sa.func.sum(of.amount_micro) != 0)
            )
        )


def january(world: World) -> World:
    """One node in January, and an hour of use by two tenants."""
    world.a_node("n1", gpus=4)
    assert month_of(world.now_ms) == JANUARY
    world.a_run("n1", ("SIM-n1-0",), HOUR_MS, tenant="acme")
    world.a_run("n1", ("SIM-n1-1", "SIM-n1-2"), HOUR_MS // 7, tenant="bolt", gpus=2)
    return world
