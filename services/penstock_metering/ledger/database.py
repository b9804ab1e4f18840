"""How is the database opened?

SQLite by default, PostgreSQL by its URL; from here on one code path. Two pools: one whose
transactions write (on SQLite they take the write lock at once, since a read that turns into a
write fails without waiting), one that only reads, each time from one snapshot. It does not know
what the tables mean.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url

from penstock_metering.ledger import schema
from penstock_metering.ledger.statements import Lookup, Row, Writing, WritingColumns

__all__ = ["Row"]

BUSY_TIMEOUT_MS = 5_000
CACHE_KIB = 32_768
"""Segments of a fleet lie all over the file, by lease: what one transaction changes should fit."""
CHECKPOINT_PAGES = 4_000
"""Pages in the log before they are copied into the file: each once, however often it changed."""
POSTGRESQL_SETTINGS = (
    "idle_in_transaction_session_timeout = '10s'",
    "lock_timeout = '5s'",
    "tcp_keepalives_idle = 5",
    "tcp_keepalives_interval = 5",
    "tcp_keepalives_count = 2",
)
SQLITE = "sqlite"
POSTGRESQL = "postgresql"


class UnsupportedDatabase(Exception):
    """The URL names neither SQLite nor PostgreSQL."""


_OWN_FAULTS = (
    sa.exc.IntegrityError,
    sa.exc.ProgrammingError,
    sa.exc.DataError,
    sa.exc.NotSupportedError,
)


def is_out(error: BaseException) -> bool:
    """Whether the database cannot now (locked, full, away, cut off), and may later; else the fault
    is ours."""
    return isinstance(error, sa.exc.DBAPIError) and not isinstance(error, _OWN_FAULTS)


class Database:
    """The two pools. `sqlite://` is a database in memory, for one thread, that lives until `close`:
    whoever opens it again finds what was committed."""

    def __init__(self, url: str) -> None:
        parsed = _with_driver(make_url(url))
        self.dialect = parsed.get_backend_name()
        options: dict[str, Any] = {}
        if self.dialect == SQLITE and parsed.database in (None, "", ":memory:"):
            memory = sqlite3.connect(":memory:")
            options = {"poolclass": sa.StaticPool, "creator": lambda: memory}
        self.writing = _engine(parsed, "BEGIN IMMEDIATE", options)
        self.reading = _engine(parsed, "BEGIN", options)

    def open(self) -> None:
        """Bring the schema up to date. Raises sqlalchemy.exc.OperationalError when the database
        cannot be reached or written now."""
        _migrate(self.writing)

    def close(self) -> None:
        self.writing.dispose()
        self.reading.dispose()

    def insert(self, table: sa.Table) -> Writing:
        """Insert rows."""
        return self._compile(self._insert_into(table), table)

    def insert_absent(self, table: sa.Table) -> Writing:
        """Insert rows whose key is not there yet."""
        return self._compile(self._insert_into(table).on_conflict_do_nothing(), table)

    def upsert(
        self,
        table: sa.Table,
        columns: Sequence[str],
        only_if_same: Iterable[str] = (),
        only_if_more: Sequence[str] = (),
    ) -> Writing:
        """Insert rows, or set `columns` where the key is there; there, rows that differ in one of
        `only_if_same`, or do not come behind what is there in the order of `only_if_more`, are
        left alone."""
        insert = self._insert_into(table)
        same = [table.c[name] == insert.excluded[name] for name in only_if_same]
        if only_if_more:
            known = sa.tuple_(*(table.c[name] for name in only_if_more))
            same.append(sa.tuple_(*(insert.excluded[name] for name in only_if_more)) > known)
        upsert = insert.on_conflict_do_update(
            index_elements=list(table.primary_key.columns),
            set_={name: insert.excluded[name] for name in columns},
            where=sa.and_(*same) if same else None,
        )
        return self._compile(upsert, table, is_upsert=True)

    def lookup(self, table: sa.Table, *columns: str) -> Lookup:
        """Rows by their key."""
        return Lookup(table, columns, self.dialect == SQLITE)

    def _compile(self, insert: sa.Insert, table: sa.Table, *, is_upsert: bool = False) -> Writing:
        if self.dialect == SQLITE:
            return Writing(insert, table, self.writing.dialect)
        return WritingColumns(insert, table, self.writing.dialect, is_upsert=is_upsert)

    def _insert_into(self, table: sa.Table) -> Any:
        return sqlite.insert(table) if self.dialect == SQLITE else postgresql.insert(table)


def _with_driver(url: URL) -> URL:
    backend = url.get_backend_name()
    if backend == POSTGRESQL:
        return url.set(drivername="postgresql+psycopg")
    if backend != SQLITE:
        raise UnsupportedDatabase(f"{backend} is not supported: use sqlite or postgresql")
    return url


def _engine(url: URL, begin: str, options: dict[str, Any]) -> sa.Engine:
    if url.get_backend_name() == POSTGRESQL:
        engine = sa.create_engine(url, isolation_level="REPEATABLE READ")
        sa.event.listen(engine, "connect", _prepare_postgresql)
        return engine
    engine = sa.create_engine(url, **options)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _prepare_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None  # SQLAlchemy begins, not the driver
    with closing(connection.cursor()) as cursor:
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        cursor.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")


def _prepare_postgresql(connection: Any, record: object) -> None:
    """A writer that is frozen or cut off within a transaction must not hold up its successor."""
    connection.autocommit = True
    with connection.cursor() as cursor:
        for setting in POSTGRESQL_SETTINGS:
            cursor.execute(f"SET {setting}")
    connection.autocommit = False


def _migrate(engine: sa.Engine) -> None:
    """Bring the schema up to date. Alembic is slow to import, so only when there is work."""
    with engine.begin() as connection:
        if sa.inspect(connection).has_table("alembic_version"):
            version = connection.execute(sa.text("SELECT version_num FROM alembic_version"))
            if version.scalar() == schema.REVISION:
                return
        from alembic import command
        from alembic.config import Config

        logging.getLogger("alembic").setLevel(logging.WARNING)
        config = Config()
        config.set_main_option("script_location", "penstock_metering:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
