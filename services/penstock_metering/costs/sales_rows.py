"""Which sales does a month have, as arrays?

Reads what was sold per tenant, with the lines that bill it. Whatever a line asks for
beside any sale (a rounding, a credit note, an allowance that moved) becomes a sale on no device. It
does not know costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import sqlalchemy as sa

from penstock_contracts.costs import Place
from penstock_contracts.prices import GPU, GPU_PREFIX, QUANTITY_PER_UNIT
from penstock_metering.bills import tables as bills
from penstock_metering.bills.contents import read_lines, read_prices
from penstock_metering.core.billing import USAGE
from penstock_metering.core.device_days import DeviceDays, as_integers
from penstock_metering.core.months import month_days, month_of_day
from penstock_metering.core.sales import Billed, LineKey, Sales
from penstock_metering.core.spread import Integers
from penstock_metering.ledger.statements import Row
from penstock_metering.rating import tables as rating

ROWS_AT_ONCE = 100_000
BREAK = "\n"
"""Between names in one text: none of them holds it."""
_COLUMNS = 5
K = TypeVar("K")


class _Numbered(dict[K, int]):
    """Gives each new key the next number."""

    def __missing__(self, key: K) -> int:
        self[key] = number = len(self)
        return number


def read_sales(
    connection: sa.Connection,
    month: str,
    days: DeviceDays,
    *,
    split_on: Iterable[int] = (),
) -> Sales:
    """By tenant, from the rollup. Sales before and after a day of `split_on` are told apart."""
    lines, line_of, beside = _read_lines(connection, month)
    gathered = _Gathered(month, days, line_of)
    for page in _pages(connection, _statement(month, sorted(split_on))):
        gathered.take(page)
    used = set(gathered.lines_used())
    for key, at in line_of.items():
        if at not in used and lines[at].amount_micro:
            gathered.add_beside(key[0], at)
    for tenant, billed in beside:
        lines.append(billed)
        gathered.add_beside(tenant, len(lines) - 1)
    return gathered.sales(lines)


class _Gathered:
    """Columns of sales as they are read."""

    def __init__(self, month: str, days: DeviceDays, line_of: dict[LineKey, int]) -> None:
        self._month = month
        self._first_day = month_days(month)[0]
        self._line_of = line_of
        self._days = days
        self._columns: list[list[Integers]] = []
        self._owners: _Numbered[str] = _Numbered()
        self._where: _Numbered[str] = _Numbered()
        self._sold_as: _Numbered[str] = _Numbered()

    def take(self, rows: Sequence[Row]) -> None:
        """Rows as `_statement` has them."""
        owners, wheres, sold_as, ran, billed = zip(*rows, strict=True)
        numbers = (
            map(self._owners.__getitem__, owners),
            map(self._where.__getitem__, wheres),
            map(self._sold_as.__getitem__, sold_as),
        )
        self._add([*map(list, numbers), ran, billed])

    def add_beside(self, owner: str, line: int) -> None:
        """A line that no sale stands for."""
        where = self._where[BREAK.join(("", "", str(self._first_day)))]
        self._add([[self._owners[owner]], [where], [self._sold_as[str(line)]], [0], [0]])

    def lines_used(self) -> Iterable[int]:
        return map(self._line, self._sold_as)

    def sales(self, lines: list[Billed]) -> Sales:
        pages = self._columns or [[as_integers([])] * _COLUMNS]
        owner, where, sold_as, ran, billed = map(np.concatenate, zip(*pages, strict=True))
        line = as_integers([*map(self._line, self._sold_as)])
        is_gpu = as_integers([*map(_is_device_time, self._sold_as)])
        places, table = self._places()
        place, device, day = (column[where] for column in table)
        return Sales(
            places=places,
            owners=list(self._owners),
            lines=lines,
            line_of=self._line_of,
            place=place,
            owner=owner,
            line=line[sold_as],
            day=day,
            device=device,
            ran=ran * is_gpu[sold_as],
            billed=billed,
        )

    def _add(self, columns: Sequence[Sequence[Any]]) -> None:
        self._columns.append([*map(as_integers, columns)])

    def _line(self, sold_as: str) -> int:
        tenant, *rest = sold_as.split(BREAK)
        if not rest:
            return int(tenant)
        sku, version, day = rest
        used_in = self._month if not int(day) else month_of_day(int(day))
        corrects = "" if used_in == self._month else used_in
        return self._line_of.get((tenant, sku, int(version), corrects), -1)

    def _places(self) -> tuple[list[Place], tuple[Integers, Integers, Integers]]:
        """Where, on which device and when, of each text that said so."""
        newest = {(place.node, place.device): place for place in self._days.places}
        devices = {key: at for at, key in enumerate(self._days.devices)}
        sites = {place.node: place.site for place in self._days.places}
        places: _Numbered[Place] = _Numbered()
        found = []
        for where in self._where:
            node, device, day = where.split(BREAK)
            key = node, device
            place = newest.get(key) or Place(node, device, "", sites.get(node, ""))
            found.append((places[place], devices.get(key, -1), int(day)))
        columns = as_integers(found).reshape(-1, 3)
        return list(places), (columns[:, 0], columns[:, 1], columns[:, 2])


def _is_device_time(sold_as: str) -> int:
    _, *rest = sold_as.split(BREAK)
    return int(bool(rest) and (rest[0] == GPU or rest[0].startswith(GPU_PREFIX)))


def _read_lines(
    connection: sa.Connection, month: str
) -> tuple[list[Billed], dict[LineKey, int], Sequence[tuple[str, Billed]]]:
    """The month's lines of use, where each stands, and what else its documents ask of whom."""
    prices = read_prices(connection)
    amounts: dict[LineKey, int] = {}
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


def _statement(month: str, split_on: Sequence[int]) -> sa.Select[Any]:
    """(tenant, node + device + day, tenant + SKU + version + day of use in another month, ran,
    billed): texts of many parts are made by the database, which does it sooner. Days within the
    month that need not be told apart are one."""
    c = rating.device_sales.c
    span = month_days(month)
    own = sa.and_(c.day >= span.start, c.day < span.stop)
    starts = [day for day in split_on if span.start < day < span.stop]
    stretch: Any = sa.literal(span.start)
    if starts:
        later = ((c.day >= day, sa.literal(day)) for day in reversed(starts))
        stretch = sa.case(*later, else_=stretch)
    keys = [
        c.node,
        c.device,
        c.tenant,
        c.sku,
        c.price_version,
        sa.case((own, stretch), else_=c.day).label("stretch"),
        sa.case((own, 0), else_=c.day).label("elsewhen"),
    ]
    sums = (
        sa.cast(sa.func.sum(one), sa.BigInteger).label(name)
        for one, name in ((c.quantity, "ran"), (c.billed_quantity, "billed"))
    )
    rows = sa.select(*keys, *sums).where(c.period == month).group_by(*keys).order_by(*keys)
    n = rows.subquery().c
    where = _joined(n.node, n.device, n.stretch)
    sold_as = _joined(n.tenant, n.sku, n.price_version, n.elsewhen)
    return sa.select(n.tenant, where, sold_as, n.ran, n.billed)


def _joined(*parts: Any) -> Any:
    texts = [sa.cast(part, sa.Text) for part in parts]
    joined: Any = texts[0]
    for one in texts[1:]:
        joined = joined + sa.literal(BREAK) + one
    return joined


def _pages(connection: sa.Connection, statement: sa.Select[Any]) -> Iterator[list[Row]]:
    """As the driver has them: a million rows are not worth an object each."""
    result = connection.execute(statement)
    cursor: Any = result.cursor
    while page := cursor.fetchmany(ROWS_AT_ONCE):
        yield page
    result.close()
