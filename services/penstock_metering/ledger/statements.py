"""How are many rows written or looked up with one statement?

Rows are tuples in the order of the table's columns. SQLite runs a compiled statement for each of
them; PostgreSQL takes them as one array for each column, which spares it a round of the protocol
for each. It does not know what rows mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from penstock_contracts.errors import InvariantError

Row = tuple[str | int | None, ...]

LOOKED_UP_AT_ONCE = 500
"""Keys in one question: SQLite takes 32,766 parameters."""


class Writing:
    """An INSERT compiled once: what SQLAlchemy does for each row of an executemany costs more than
    SQLite itself."""

    def __init__(self, insert: sa.Insert, table: sa.Table, dialect: sa.Dialect) -> None:
        names = [column.name for column in table.columns]
        compiled = insert.compile(dialect=dialect, column_keys=names)
        self._text = str(compiled)
        if compiled.positiontup != names:
            raise InvariantError(f"{table.name}: parameters stand in another order than columns")

    def run(self, connection: sa.Connection, rows: Sequence[Row]) -> int:
        """How many rows were inserted or changed."""
        if not rows:
            return 0
        return connection.exec_driver_sql(self._text, list(rows)).rowcount


class WritingColumns(Writing):
    """The same for PostgreSQL, where one statement may not change a row twice: of rows with the
    same key an upsert takes the last."""

    def __init__(
        self, insert: sa.Insert, table: sa.Table, dialect: sa.Dialect, *, is_upsert: bool = False
    ) -> None:
        self._is_upsert = is_upsert
        self._names = [column.name for column in table.columns]
        self._key = [place for place, column in enumerate(table.columns) if column.primary_key]
        arrays = [sa.bindparam(c.name, type_=postgresql.ARRAY(c.type)) for c in table.columns]
        rows = sa.func.unnest(*arrays).table_valued(*self._names).render_derived()
        source = sa.select(*(rows.c[name] for name in self._names))
        self._text = str(insert.from_select(self._names, source).compile(dialect=dialect))

    def run(self, connection: sa.Connection, rows: Sequence[Row]) -> int:
        if not rows:
            return 0
        if self._is_upsert:
            rows = [*{tuple(row[place] for place in self._key): row for row in rows}.values()]
        columns = zip(*rows, strict=True)
        arrays = {name: array(column) for name, column in zip(self._names, columns, strict=True)}
        return connection.exec_driver_sql(self._text, arrays).rowcount


class Lookup:
    """Rows of a table by their key; `columns` are told beside it."""

    def __init__(self, table: sa.Table, columns: Sequence[str], is_sqlite: bool) -> None:
        keys = list(table.primary_key.columns)
        names = ", ".join(column.name for column in keys)
        told = ", ".join(f"{table.name}.{name}" for name in (*(k.name for k in keys), *columns))
        same = " AND ".join(f"{table.name}.{key.name} = asked.{key.name}" for key in keys)
        # SQLite would read the whole table for `IN (VALUES ...)`; joined in this order, it seeks.
        self._begin = f"WITH asked({names}) AS ("
        self._end = f") SELECT {told} FROM asked CROSS JOIN {table.name} WHERE {same}"
        self._is_sqlite = is_sqlite
        self._one = f"({', '.join('?' * len(keys))})"
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        arrays = ", ".join(f"%s::{column.type.compile(dialect)}[]" for column in keys)
        self._unnest = f"{self._begin}SELECT * FROM unnest({arrays}){self._end}"

    def find(self, connection: sa.Connection, keys: Sequence[Row]) -> Iterator[Any]:
        """Those that are there: key and columns."""
        for first in range(0, len(keys), LOOKED_UP_AT_ONCE):
            asked = keys[first : first + LOOKED_UP_AT_ONCE]
            if self._is_sqlite:
                text = f"{self._begin}VALUES {', '.join([self._one] * len(asked))}{self._end}"
                values = tuple(value for key in asked for value in key)
                yield from connection.exec_driver_sql(text, values)
            else:
                arrays = tuple(array(column) for column in zip(*asked, strict=True))
                yield from connection.exec_driver_sql(self._unnest, arrays)


def array(values: Sequence[str | int | None]) -> str:
    """As PostgreSQL writes an array. Its driver turns each value by itself, in Python, which would
    cost more than all the rest of a batch."""
    if None in values:
        return f"{{{','.join(map(_element, values))}}}"
    if isinstance(values[0], int):
        return f"{{{','.join(map(str, values))}}}"
    text = "\0".join(values)  # type: ignore[arg-type]
    if text.count("\0") != len(values) - 1:
        raise InvariantError("PostgreSQL's TEXT holds no NUL")
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\0", '","')
    return f'{{"{text}"}}'


def _element(value: str | int | None) -> str:
    if value is None:
        return "NULL"
    return array((value,))[1:-1]
