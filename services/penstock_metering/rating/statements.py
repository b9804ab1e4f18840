"""How is what rating finds written?

Statements compiled once for each kind of database. It does not know what is rated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from penstock_metering.ledger.statements import Row, Writing, WritingColumns
from penstock_metering.rating import tables

_COUNTED = {
    tables.usage_days: ("quantity", "billed_quantity", "leases"),
    tables.device_sales: ("quantity", "billed_quantity"),
}


class Statements:
    """`mark`: of two marks of a lease the lower one stands. `put`: rows of `rated`, instead of what
    has their key. `add`: onto the sums that are there."""

    def __init__(self, dialect: sa.Dialect) -> None:
        dirty, rated = tables.dirty_leases, tables.rated
        insert = _insert(dialect, dirty)
        marking = insert.on_conflict_do_update(
            index_elements=list(dirty.primary_key.columns),
            set_={"from_seq": insert.excluded.from_seq},
            where=insert.excluded.from_seq < dirty.c.from_seq,
        )
        self.mark = _compile(dialect, dirty, marking)
        insert = _insert(dialect, rated)
        values = [column.name for column in rated.columns if not column.primary_key]
        putting = insert.on_conflict_do_update(
            index_elements=list(rated.primary_key.columns),
            set_={name: insert.excluded[name] for name in values},
        )
        self.put = _compile(dialect, rated, putting)
        self._add = {table: _adding(dialect, table) for table in _COUNTED}

    def add(
        self, connection: sa.Connection, table: sa.Table, rows: Sequence[Row], falling: bool
    ) -> None:
        """`falling`: some sum may have come to nothing; such rows are not kept."""
        self._add[table].run(connection, rows)
        if falling:
            sums = [table.c[name] == 0 for name in _COUNTED[table]]
            connection.execute(sa.delete(table).where(*sums))

    def delete(self, connection: sa.Connection, table: sa.Table, keys: Iterable[Row]) -> None:
        """Rows by their key."""
        columns = list(table.primary_key.columns)
        statement = sa.delete(table).where(*(c == sa.bindparam(f"b_{c.name}") for c in columns))
        rows = [dict(zip((f"b_{c.name}" for c in columns), key, strict=True)) for key in keys]
        if rows:
            connection.execute(statement, rows)


def statements(connection: sa.Connection) -> Statements:
    dialect = connection.dialect
    if dialect.name not in _COMPILED:
        _COMPILED[dialect.name] = Statements(dialect)
    return _COMPILED[dialect.name]


_COMPILED: dict[str, Statements] = {}


def _insert(dialect: sa.Dialect, table: sa.Table) -> Any:
    return sqlite.insert(table) if dialect.name == "sqlite" else postgresql.insert(table)


def _adding(dialect: sa.Dialect, table: sa.Table) -> Writing:
    insert = _insert(dialect, table)
    adding = insert.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={name: table.c[name] + insert.excluded[name] for name in _COUNTED[table]},
    )
    return _compile(dialect, table, adding)


def _compile(dialect: sa.Dialect, table: sa.Table, insert: sa.Insert) -> Writing:
    if dialect.name == "sqlite":
        return Writing(insert, table, dialect)
    return WritingColumns(insert, table, dialect)
