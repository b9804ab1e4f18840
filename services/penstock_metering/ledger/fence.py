"""Who may write the ledger?

One row names the writer with the newest term. Whoever begins to write takes the next term; every
transaction that changes anything reads the row, and holds it, before it ends. So of two writers
the older changes nothing more, whatever it believes about locks elsewhere. It does not know who
leads, nor what is written.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from penstock_contracts.errors import InvariantError
from penstock_metering.ledger import schema
from penstock_metering.ledger.database import POSTGRESQL, Database

_row = schema.ledger_writer


class Superseded(Exception):
    """Another writer has taken a later term: this one must change nothing, and end."""


class Writer(msgspec.Struct, frozen=True, kw_only=True):
    """A process that writes the ledger. `host` names boot and process namespace; `pid` and
    `pid_start` are valid within it."""

    name: str
    host: str = ""
    pid: int = 0
    pid_start: int = 0


class Fence:
    """`term` is 0 until `take_term`."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self.term = 0
        self._writer = writer
        self._engine = database.writing
        hold = " FOR UPDATE" if database.dialect == POSTGRESQL else ""  # SQLite holds the file
        self._select = f"SELECT term FROM {_row.name} WHERE id = 1{hold}"

    def take_term(self) -> None:
        """Supersede everybody before. What they had committed is there once this returns."""
        writer = self._writer
        with self._engine.begin() as connection:
            term = self._read(connection) + 1
            connection.execute(
                sa.update(_row).values(
                    term=term,
                    writer=writer.name,
                    host=writer.host,
                    pid=writer.pid,
                    pid_start=writer.pid_start,
                )
            )
        self.term = term

    def check(self, connection: sa.Connection) -> None:
        """Hold the row until the transaction ends. Raises Superseded."""
        term = self._read(connection)
        if term != self.term:
            raise Superseded(f"the ledger is written in term {term}, this process has {self.term}")

    def _read(self, connection: sa.Connection) -> int:
        term = connection.exec_driver_sql(self._select).scalar()
        if not isinstance(term, int):
            raise InvariantError("the ledger does not say who writes it")
        return term


def last_writer(database: Database) -> Writer:
    """Who took the newest term; read without waiting for anybody who writes."""
    with database.reading.begin() as connection:
        row = connection.execute(sa.select(_row)).one()
    return Writer(name=row.writer, host=row.host, pid=row.pid, pid_start=row.pid_start)
