"""How does a migration write a table down?

One line of `name:type` columns for each: `?` = may be unknown, `:key` = part of the primary key.
Apart from the tables as they are now, which go on changing. It does not know which tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op


def make_tables(tables: Mapping[str, str], with_rowid: tuple[str, ...] = ()) -> None:
    """From name and columns each. Rows of a table without a rowid live in their key's order."""
    for name, columns in tables.items():
        op.create_table(name, *map(_column, columns.split()), sqlite_with_rowid=name in with_rowid)


def _column(text: str) -> sa.Column[Any]:
    name, kind, *key = text.split(":")
    column_type = sa.Text() if kind.startswith("text") else sa.BigInteger()
    return sa.Column(
        name,
        column_type,
        nullable=kind.endswith("?"),
        primary_key=bool(key),
        autoincrement=False,
    )
