"""How is use rated as it becomes known?

Takes leases that are marked, a bounded number in one transaction, works out their parts, and writes
what is different from what stands: rows of `rated`, and the sums over them. A lease to which only
later segments came goes on from the parts it has. The outcome depends on what the ledger holds and
on what is closed, not on when this ran. It does not know who marks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import sqlalchemy as sa

from penstock_metering.bills.tables import periods
from penstock_metering.core.book import PriceBook
from penstock_metering.core.parts import Part
from penstock_metering.core.placing import place
from penstock_metering.core.rating import Continued, LeaseRating, UsageLine
from penstock_metering.core.rows import LeaseKey, LeaseRow
from penstock_metering.ledger import schema
from penstock_metering.ledger.statements import Row
from penstock_metering.rating import tables
from penstock_metering.rating.marks import AGAIN
from penstock_metering.rating.price_book import read_book
from penstock_metering.rating.rated_lines import Marked, read_models
from penstock_metering.rating.rated_rows import PART, PERIOD, RatedRow, Sums, rated_row, read_part
from penstock_metering.rating.statements import statements

LEASES_AT_ONCE = 500
"""In one transaction, so that what arrives meanwhile does not wait long."""
_dirty, _rated, _leases = tables.dirty_leases, tables.rated, schema.leases
_KEY = ("lease_seq", "job_id", "rank")

LISTENERS: tuple[Callable[[sa.Connection, Sequence[LeaseKey]], None], ...] = ()
"""Told which leases were rated, in the transaction that did it."""


def step(connection: sa.Connection, now_ms: int = 0) -> bool:
    """Rate some leases; whether there may be more to do."""
    return bool(rate_some(connection, LEASES_AT_ONCE))


def rate_some(connection: sa.Connection, limit: int) -> list[LeaseKey]:
    """Rate at most so many leases; which it were."""
    marks = connection.execute(
        sa.select(_dirty).order_by(*_dirty.primary_key.columns).limit(limit)
    ).all()
    if not marks:
        return []
    first_new: dict[LeaseKey, int] = {(m[0], m[1], m[2]): m[3] for m in marks}
    keys = list(first_new)
    _Rating(connection, first_new).run()
    connection.execute(sa.delete(_dirty).where(sa.tuple_(*_dirty.primary_key.columns) <= keys[-1]))
    for listen in LISTENERS:
        listen(connection, keys)
    return keys


def rate_all(connection: sa.Connection) -> None:
    """Until nothing is marked."""
    while rate_some(connection, LEASES_AT_ONCE):
        pass


def forget_open(connection: sa.Connection) -> None:
    """Drop all that is derived but what belongs to closed months, and mark every lease: rating all
    of them brings the same rows again."""
    closed_until = read_closed_until(connection)
    for table in (_rated, tables.usage_days, tables.device_sales):
        connection.execute(sa.delete(table).where(table.c.period > closed_until))
    connection.execute(sa.delete(_dirty))
    keys = sa.select(*(_leases.c[name] for name in _KEY), sa.literal(AGAIN))
    connection.execute(sa.insert(_dirty).from_select([*_KEY, "from_seq"], keys))


def read_closed_until(connection: sa.Connection) -> str:
    """The last closed month; empty = none is."""
    return connection.execute(sa.select(sa.func.max(periods.c.month))).scalar() or ""


class _Rating:
    """One batch of leases, all of them the first ones that are marked."""

    def __init__(self, connection: sa.Connection, first_new: Mapping[LeaseKey, int]) -> None:
        self._connection = connection
        self._first_new = first_new
        self._marked = Marked(connection, list(first_new)[-1])
        self._closed_until = read_closed_until(connection)
        self._book: PriceBook = read_book(connection)
        self._put: list[RatedRow] = []
        self._gone: list[Row] = []
        self._sums = Sums()

    def run(self) -> None:
        leases = {lease.key: lease for lease in self._marked.leases()}
        models = read_models(self._connection, leases.values())
        standing = self._marked.rated()
        lines = self._marked.new_lines()
        again: list[LeaseKey] = []
        for key, lease in leases.items():
            rows, from_seq = standing.get(key, []), self._first_new[key]
            prior = [] if from_seq == AGAIN else rows
            if not prior and from_seq > 0:
                again.append(key)
                continue
            try:
                parts = _rate(lease, models, self._book, prior, lines.get(key, ()))
            except Continued:
                again.append(key)
                continue
            self._replace(lease, rows, parts)
        lines = self._marked.all_lines(again)
        for key in again:
            parts = _rate(leases[key], models, self._book, (), lines.get(key, ()))
            self._replace(leases[key], standing.get(key, []), parts)
        self._write()

    def _replace(self, lease: LeaseRow, rows: Sequence[RatedRow], parts: Iterable[Part]) -> None:
        """What is closed stays; the rest becomes what the parts say."""
        closed = [row for row in rows if row[PERIOD] <= self._closed_until]
        open_rows = {row[PART]: row for row in rows if row[PERIOD] > self._closed_until}
        number = max((row[PART] for row in closed), default=-1)
        for placed in place(parts, map(read_part, closed), self._closed_until):
            number += 1
            row = rated_row(lease, number, placed.part, placed.period, placed.corrects)
            before = open_rows.pop(number, None)
            if row != before:
                self._put.append(row)
                self._sums.count(row, 1)
                if before is not None:
                    self._sums.count(before, -1)
        for number, row in open_rows.items():
            self._gone.append((*lease.key, number))
            self._sums.count(row, -1)

    def _write(self) -> None:
        own = statements(self._connection)
        own.delete(self._connection, _rated, self._gone)
        own.put.run(self._connection, self._put)
        self._sums.write(self._connection)


def _rate(
    lease: LeaseRow,
    models: Mapping[tuple[str, str], str],
    book: PriceBook,
    prior: Iterable[RatedRow],
    lines: Iterable[UsageLine],
) -> list[Part]:
    own = {device: models.get((lease.node, device), "") for device in lease.devices}
    rating = LeaseRating(lease, own, book, map(read_part, prior))
    rating.add(lines)
    return rating.parts()
