"""How is a table of the ledger declared?

Columns and tables as SQLAlchemy sees them, of the one metadata. Only what SQLite and PostgreSQL
share: BIGINT, TEXT, integer epoch-ms. It does not know which tables there are.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, MetaData, Table, Text
from sqlalchemy import text as sql

metadata = MetaData()


def text(name: str, *, key: bool = False, unknown: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=key, nullable=unknown)


def integer(name: str, *, key: bool = False, unknown: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=key, nullable=unknown, autoincrement=False)


def table(name: str, *parts: Column[str] | Column[int] | Index, with_rowid: bool = False) -> Table:
    """Without a rowid a row lives in its key's order. With one, rows lie as they came, which spares
    what is written often (segments) and what is wide (jobs)."""
    return Table(name, metadata, *parts, sqlite_with_rowid=with_rowid)


def index_where(name: str, column: str, condition: str) -> Index:
    """Only of the few rows that are not over: what a start must load."""
    where = sql(condition)
    return Index(name, column, sqlite_where=where, postgresql_where=where)
