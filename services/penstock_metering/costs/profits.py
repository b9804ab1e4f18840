"""What did a month bring and cost, as the ledger has it?

Reads device time, sales, lines and costs of a month from one snapshot and hands them to the core.
Lines of a closed month are those that were issued; time and costs are as they are known now. It
does not know how anything is divided.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import sqlalchemy as sa

from penstock_contracts.costs import CostVersion
from penstock_contracts.errors import Refusal
from penstock_contracts.profits import (
    WORST_SHOWN,
    Payout,
    ProfitLine,
    ProfitQuery,
    ProfitView,
)
from penstock_metering.bills.contents import closed_ms
from penstock_metering.core.costs import COMPONENTS, Cells, cost_cells
from penstock_metering.core.device_days import SOLD_COUNT, STATES, UNSOLD_STATES, DeviceDays
from penstock_metering.core.job_profit import rates, tally_of_jobs
from penstock_metering.core.months import MS_PER_DAY, is_month, month_days, month_of
from penstock_metering.core.profit import Tally, idle_times, tally_by_owner, tally_by_place
from penstock_metering.core.sales import Earnings, Sales, earnings
from penstock_metering.core.verdicts import job_lines, known_ppm, lines_of, totals_of
from penstock_metering.costs.book import read_costs
from penstock_metering.costs.job_profits import TooMany, read_uses, worst_jobs
from penstock_metering.costs.sales_rows import read_sales
from penstock_metering.devices.day_rows import read_days

MODELS_SHOWN = 100
SOLD = "sold"


class Books(msgspec.Struct, frozen=True):
    """All that profit and loss of a month are made of."""

    month: str
    closed: bool
    days: DeviceDays
    costs: list[CostVersion]
    cells: Cells
    sales: Sales
    made: Earnings


class PeriodCost(msgspec.Struct, frozen=True):
    """A month's cost of one `kind`, by `use`: `sold`, or why it was not. `owner`: who is paid
    out."""

    kind: str
    use: str
    owner: str
    currency: str
    micro: int


class DayCost(msgspec.Struct, frozen=True):
    """What one device's day cost, in one currency, without payouts; `idle` is the part of it for
    time that was not sold, by reason."""

    node: str
    device: str
    day: int
    currency: str
    micro: dict[str, int]
    idle: dict[str, int]


def answer_profit(
    connection: sa.Connection, query: ProfitQuery, now_ms: int
) -> ProfitView | Refusal:
    month = query.month or month_of(now_ms)
    if not is_month(month):
        return Refusal("invalid_field", "a month is written 2026-11", "month")
    books = read_books(connection, month, now_ms)
    by_device = _by_place(books, "device")
    tally = by_device
    if query.by in ("tenant", "job"):
        tally = tally_by_owner(books.days, books.cells, books.sales, books.made)
    elif query.by != "device":
        tally = _by_place(books, query.by)
    if query.by == "job":
        try:
            tally = _by_job(connection, books, tally, query.limit)
        except TooMany:
            return Refusal("answer_too_large", "too many devices to rank jobs by", "by")
        lines, others = job_lines(tally)
    else:
        lines, others = lines_of(tally, query.limit)
    owed = sorted(books.made.payouts.items())
    return ProfitView(
        month=month,
        closed=books.closed,
        by=query.by,
        lines=tuple(lines),
        others=tuple(others),
        totals=tuple(totals_of(tally)),
        models=tuple(lines_of(_by_place(books, "model"), MODELS_SHOWN)[0]),
        worst=_worst(by_device),
        idle=tuple(idle_times(by_device)),
        payouts=tuple(Payout(owner, micro, currency) for (owner, currency), micro in owed),
        energy_known_ppm=known_ppm(
            int(books.days.energy_known_ms.sum()), int(books.days.capacity.sum())
        ),
    )


def read_books(connection: sa.Connection, month: str, now_ms: int) -> Books:
    span = month_days(month)
    days = DeviceDays(read_days(connection, span.start, span.stop, now_ms))
    costs = read_costs(connection)
    split_on = {cost.effective_from_ms // MS_PER_DAY for cost in costs if cost.kind == "payout"}
    sales = read_sales(connection, month, days, split_on=split_on)
    return Books(
        month=month,
        closed=closed_ms(connection, month) is not None,
        days=days,
        costs=costs,
        cells=cost_cells(days, costs, month),
        sales=sales,
        made=earnings(sales, costs),
    )


def period_costs(connection: sa.Connection, month: str, now_ms: int) -> list[PeriodCost]:
    """What a month's closing posts, in a fixed order; they sum to the month's costs."""
    books = read_books(connection, month, now_ms)
    found = []
    for (component, currency), cells in sorted(books.cells.items()):
        sums = cells.sum(axis=0).tolist()
        uses = {SOLD: sum(sums[:SOLD_COUNT])} | dict(
            zip(UNSOLD_STATES, sums[SOLD_COUNT:], strict=True)
        )
        found += [PeriodCost(component, use, "", currency, uses[use]) for use in uses if uses[use]]
    for (owner, currency), micro in sorted(books.made.payouts.items()):
        found.append(PeriodCost("payout", SOLD, owner, currency, micro))
    return found


def day_costs(books: Books) -> Iterator[DayCost]:
    """Every device's day with any cost, in the order of `books.days`."""
    for currency in sorted({own for _, own in books.cells}):
        micro = {
            name: books.cells[name, currency].tolist()
            for name in COMPONENTS
            if (name, currency) in books.cells
        }
        for at, row in enumerate(books.days.rows):
            by_state = [
                sum(column) for column in zip(*(c[at] for c in micro.values()), strict=True)
            ]
            if any(by_state):
                idle = dict(zip(STATES[SOLD_COUNT:], by_state[SOLD_COUNT:], strict=True))
                yield DayCost(
                    row.node,
                    row.device,
                    row.day,
                    currency,
                    {name: sum(cells[at]) for name, cells in micro.items()},
                    {state: cost for state, cost in idle.items() if cost},
                )


def _by_job(connection: sa.Connection, books: Books, tenants: Tally, limit: int) -> Tally:
    month, days, sales = books.month, books.days, books.sales
    payouts = [cost for cost in books.costs if cost.kind == "payout"]
    of = rates(days, books.cells, sales)
    jobs = worst_jobs(connection, month, limit, days, sales, of, payouts)
    uses = read_uses(connection, month, jobs, days, sales, payouts)
    return tally_of_jobs(tenants, jobs, uses, sales, of)


def _by_place(books: Books, by: str) -> Tally:
    return tally_by_place(by, books.days, books.cells, books.sales, books.made)


def _worst(by_device: Tally) -> tuple[ProfitLine, ...]:
    """Devices, not hosts: these have no time of their own."""
    lines = lines_of(by_device, WORST_SHOWN + len(by_device.names))[0]
    return tuple(line for line in lines if line.capacity_milli_ms)[:WORST_SHOWN]
