"""How are thousands of ledgers opened and written in a run of tests?

A process has one ledger, and compiles each statement once; tests would spend half their time
compiling the same ones, so their ledgers share the texts (never a connection or a row). They do not
wait for the disk either: nobody cuts the power here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Any, TypeVar

import sqlalchemy as sa

from penstock_metering.ledger.database import SQLITE, Database
from penstock_metering.ledger.statements import Lookup, Writing

T = TypeVar("T")

_dialects: dict[str, tuple[sa.Dialect, dict[Any, Any]]] = {}
_statements: dict[tuple[Any, ...], Any] = {}


class QuickDatabase(Database):
    """Its statements are those of the others of its kind, and it is not durable."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        for engine in (self.writing, self.reading):
            dialect, compiled = _dialects.setdefault(self.dialect, (engine.dialect, {}))
            engine.dialect = dialect
            engine.update_execution_options(compiled_cache=compiled)
            if self.dialect == SQLITE:
                sa.event.listen(engine, "connect", _trust_the_disk)

    def insert(self, table: sa.Table) -> Writing:
        return self._once(super().insert, table)

    def insert_absent(self, table: sa.Table) -> Writing:
        return self._once(super().insert_absent, table)

    def upsert(
        self,
        table: sa.Table,
        columns: Sequence[str],
        only_if_same: Iterable[str] = (),
        only_if_more: Sequence[str] = (),
    ) -> Writing:
        same, more = tuple(only_if_same), tuple(only_if_more)
        return self._once(super().upsert, table, tuple(columns), same, more)

    def lookup(self, table: sa.Table, *columns: str) -> Lookup:
        return self._once(super().lookup, table, *columns)

    def _once(self, make: Callable[..., T], *arguments: Any) -> T:
        key = (self.dialect, make.__name__, *arguments)
        if key not in _statements:
            _statements[key] = make(*arguments)
        made: T = _statements[key]
        return made


def _trust_the_disk(connection: Any, record: object) -> None:
    with closing(connection.cursor()) as cursor:
        cursor.execute("PRAGMA synchronous = OFF")
