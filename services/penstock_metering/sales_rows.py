"""Which sales does a month have, as arrays?

Reads what was sold per tenant or per job, with the lines that bill it. Whatever a line asks for
beside any sale (a rounding, a credit note, an allowance that moved) becomes a sale on no device. It
does not know costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import sqlalchemy as sa

from penstock_contracts.costs import Place
from penstock_contracts.prices import GPU, GPU_PREFIX, QUANTITY_PER_UNIT
from penstock_metering import schema_bills as bills
from penstock_metering import schema_rating as tables
from penstock_metering.bills import read_lines, read_prices
from penstock_metering.core.billing import USAGE
from penstock_metering.core.device_days import DeviceDays, as_integers
from penstock_metering.core.months import month_days, month_of_day
from penstock_metering.core.sales import Billed, Sales
from penstock_metering.core.spread import Integers

ROWS_AT_ONCE = 50_000
NO_JOB = "(no job)"
_sold, _rated = tables.device_sales, tables.rated
K = TypeVar("K")

_Line = tuple[str, str, int, str]
"""(tenant, SKU, price version, month that is corrected)"""


class _Numbered(dict[K, int]):
    """Gives each new key the next number."""

    def __missing__(self, key: K) -> int:
        self[key] = number = len(self)
        return number


def read_sales(
    connection: sa.Connection, month: str, days: DeviceDays, *, by_job: bool = False
) -> Sales:
    """By tenant from the rollup, or by job from what was rated."""
    lines, line_of, beside = _read_lines(connection, month)
    gathered = _Gathered(month, days, line_of)
    statement = _rated_statement(month) if by_job else _sold_statement(month)
    result = connection.execute(statement, execution_options={"yield_per": ROWS_AT_ONCE})
    for page in result.partitions(ROWS_AT_ONCE):
        gathered.take(page)
    used = set(gathered.lines_used())
    for key, at in line_of.items():
        if at not in used and lines[at].amount_micro:
            gathered.add_beside(NO_JOB if by_job else key[0], at)
    for tenant, billed in beside:
        lines.append(billed)
        gathered.add_beside(NO_JOB if by_job else tenant, len(lines) - 1)
    return gathered.sales(lines)


class _Gathered:
    """Columns of sales as they are read."""

    def __init__(self, month: str, days: DeviceDays, line_of: dict[_Line, int]) -> None:
        self._month = month
        self._first_day = month_days(month)[0]
        self._line_of = line_of
        self._columns: list[list[Integers]] = []
        self._owners: _Numbered[str] = _Numbered()
        self._keys: _Numbered[tuple[Any, ...]] = _Numbered()
        self._sold_as: _Numbered[tuple[Any, ...]] = _Numbered()
        self._days = days

    def take(self, rows: Iterable[sa.Row[Any]]) -> None:
        """Rows of (owner, node, device, day, tenant, SKU, version, ran, billed)."""
        owners, nodes, devices, on, tenants, skus, versions, ran, billed = zip(*rows, strict=True)
        self._columns.append(
            [
                as_integers([self._owners[owner] for owner in owners]),
                as_integers([self._keys[k] for k in zip(nodes, devices, on, skus, strict=True)]),
                as_integers(
                    [self._sold_as[k] for k in zip(tenants, skus, versions, on, strict=True)]
                ),
                as_integers(ran),
                as_integers(billed),
            ]
        )

    def add_beside(self, owner: str, line: int) -> None:
        key = self._keys["", "", self._first_day, ""]
        sold_as = self._sold_as[None, line]
        row = (self._owners[owner], key, sold_as, 0, 0)
        self._columns.append([as_integers([value]) for value in row])

    def lines_used(self) -> Iterable[int]:
        return (self._line(key) for key in self._sold_as)

    def sales(self, lines: list[Billed]) -> Sales:
        empty = np.zeros(0, dtype=np.int64)
        columns = [
            np.concatenate([page[at] for page in self._columns]) if self._columns else empty
            for at in range(5)
        ]
        owner, key, sold_as, ran, billed = columns
        places, place, day, day_row, is_gpu = self._placed()
        line = as_integers([self._line(one) for one in self._sold_as])
        return Sales(
            places=places,
            owners=list(self._owners),
            lines=lines,
            place=place[key],
            owner=owner,
            line=line[sold_as] if len(line) else empty,
            day=day[key],
            day_row=day_row[key],
            ran=np.where(is_gpu[key] > 0, ran, 0),
            billed=billed,
        )

    def _line(self, sold_as: tuple[Any, ...]) -> int:
        if sold_as[0] is None:
            return int(sold_as[1])
        tenant, sku, version, day = sold_as
        used_in = month_of_day(day)
        corrects = "" if used_in == self._month else used_in
        return self._line_of.get((tenant, sku, version, corrects), -1)

    def _placed(self) -> tuple[list[Place], Integers, Integers, Integers, Integers]:
        """Of each (node, device, day, SKU): where, when, in which row of the device days, and
        whether its quantity is device time."""
        rows = self._days.index()
        sites = {place.node: place.site for place in self._days.places}
        places: _Numbered[Place] = _Numbered()
        for place in self._days.places:
            places[place]
        found = []
        for node, device, day, sku in self._keys:
            row = rows.get((node, device, day), -1)
            model = sku.removeprefix(GPU_PREFIX) if sku.startswith(GPU_PREFIX) else ""
            place = Place(node, device, model, sites.get(node, ""))
            if row >= 0:
                place = self._days.places[self._days.place[row]]
            is_gpu = sku == GPU or sku.startswith(GPU_PREFIX)
            found.append((places[place], day, row, int(is_gpu)))
        columns = as_integers(found).reshape(-1, 4)
        return list(places), columns[:, 0], columns[:, 1], columns[:, 2], columns[:, 3]


def _read_lines(
    connection: sa.Connection, month: str
) -> tuple[list[Billed], dict[_Line, int], Sequence[tuple[str, Billed]]]:
    """The month's lines of use, where each stands, and what else its documents ask of whom."""
    prices = read_prices(connection)
    amounts: dict[_Line, int] = {}
    for line in read_lines(connection, month):
        key = line.tenant, line.sku, line.price_version, line.corrects
        amounts[key] = amounts.get(key, 0) + line.amount_micro
    lines = []
    for (_, _, version, _), micro in amounts.items():
        price = prices[version]
        lines.append(Billed(micro, price.currency, price.micro, QUANTITY_PER_UNIT[price.unit]))
    line_of = {key: at for at, key in enumerate(amounts)}
    rows = connection.execute(
        sa.select(
            bills.invoices.c.tenant,
            bills.invoices.c.currency,
            sa.func.sum(bills.invoice_lines.c.amount_micro).label("micro"),
        )
        .join(bills.invoice_lines, bills.invoice_lines.c.invoice_id == bills.invoices.c.invoice_id)
        .where(bills.invoices.c.period == month, bills.invoice_lines.c.kind != USAGE)
        .group_by(bills.invoices.c.tenant, bills.invoices.c.currency)
        .order_by(bills.invoices.c.tenant, bills.invoices.c.currency)
    )
    beside = [(row.tenant, Billed(int(row.micro), row.currency, 0, 1)) for row in rows if row.micro]
    return lines, line_of, beside


def _sold_statement(month: str) -> sa.Select[Any]:
    c = _sold.c
    return (
        sa.select(
            c.tenant.label("owner"), c.node, c.device, c.day, c.tenant, c.sku, c.price_version,
            c.quantity, c.billed_quantity,
        )
        .where(c.period == month)
        .order_by(*_sold.primary_key.columns)
    )  # fmt: skip


def _rated_statement(month: str) -> sa.Select[Any]:
    c = _rated.c
    ran = sa.case((c.state == "running", c.quantity), else_=0)
    return (
        sa.select(
            c.job_id, c.node, c.device, c.day, c.tenant, c.sku, c.price_version, ran,
            c.billed_quantity,
        )
        .where(c.period == month)
        .order_by(*_rated.primary_key.columns)
    )  # fmt: skip
