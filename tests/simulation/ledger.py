"""Where does the world's ledger lie?

A real SQLite database in memory-backed storage, copied from one that is migrated already, whose
disk can be full. It does not know what is in it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from sqlite3 import OperationalError as SqliteError
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from penstock_metering.deriving import derive_all
from penstock_metering.ledger import schema
from penstock_metering.ledger.database import Database
from penstock_metering.rating import rater
from tests.checkers.books import Books, Line, Row
from tests.checkers.observation import ledger_lines

MEMORY = Path("/dev/shm")
FACTS = (
    "price_versions",
    "commands_done",
    "periods",
    "invoices",
    "invoice_lines",
    "postings",
    "credits",
    "budgets",
    "budget_accounts",
    "budget_grants",
)
DERIVED = ("rated", "usage_days", "device_sales")


def empty_ledger() -> Path:
    """A migrated database without rows, to copy for each world."""
    path = _directory() / "ledger.db"
    database = Database(f"sqlite:///{path}")
    database.open()
    database.close()
    return path


def _directory() -> Path:
    place = MEMORY if MEMORY.is_dir() else None
    return Path(tempfile.mkdtemp(prefix="penstock-world-", dir=place))


class Ledger:
    """`full`: nothing more can be written."""

    def __init__(self, template: Path) -> None:
        self.full = False
        self._directory = _directory()
        self._path = self._directory / "ledger.db"
        shutil.copyfile(template, self._path)

    def open(self) -> Database:
        """As a process that opens the file; connections of dead processes stay behind."""
        database = Database(f"sqlite:///{self._path}")
        sa.event.listen(database.writing, "before_cursor_execute", self._before_write)
        sa.event.listen(database.writing, "commit", self._before_commit)
        return database

    def lines(self) -> list[Line]:
        """Every line there is."""
        return ledger_lines(Database(f"sqlite:///{self._path}"))

    def books(self, now_ms: int) -> Books:
        """All rows about money; and whether those that are derived come out the same anew."""
        database = Database(f"sqlite:///{self._path}")
        try:
            with database.writing.begin() as connection:
                rows = {name: _rows(connection, name) for name in (*FACTS, *DERIVED)}
                rater.forget_open(connection)
                derive_all(connection, now_ms)
                anew = {name: _rows(connection, name) for name in DERIVED}
                connection.rollback()
        finally:
            database.close()
        other = tuple(name for name in DERIVED if rows[name] != anew[name])
        return Books(rows=rows, rebuilt=other)

    def remove(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def _before_write(
        self, connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> None:
        if self.full and not statement.lstrip().upper().startswith(("SELECT", "BEGIN")):
            raise _full(statement)

    def _before_commit(self, connection: Any) -> None:
        if self.full:
            raise _full("COMMIT")


def _rows(connection: sa.Connection, name: str) -> list[Row]:
    table = schema.metadata.tables[name]
    found = connection.execute(sa.select(table).order_by(*table.primary_key.columns))
    return [dict(row) for row in found.mappings()]


def _full(statement: str) -> OperationalError:
    return OperationalError(statement, None, SqliteError("database or disk is full"))
