"""How is the same statement run many times?

Compiled once for each kind of database: putting it together costs more than running it. It does not
know what it asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa


class _Compiled(NamedTuple):
    """`order`: the names of the parameters in their places; None = they are named. `given` are
    those that the statement has itself."""

    text: str
    order: list[str] | None
    given: dict[str, Any]

    def parameters(self, values: Mapping[str, str | int | None]) -> Any:
        if self.order is None:
            return {**self.given, **values}
        return tuple(values[n] if n in values else self.given[n] for n in self.order)


class Prepared:
    """A statement whose bound parameters are named when it is run."""

    def __init__(self, statement: sa.Executable) -> None:
        self._statement: Any = statement
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: sa.Connection, **values: str | int | None) -> Any:
        compiled = self._on(connection.dialect)
        return connection.exec_driver_sql(compiled.text, compiled.parameters(values))

    def run_many(
        self, connection: sa.Connection, rows: Sequence[Mapping[str, str | int | None]]
    ) -> None:
        if rows:
            compiled = self._on(connection.dialect)
            connection.exec_driver_sql(compiled.text, [compiled.parameters(row) for row in rows])

    def _on(self, dialect: sa.Dialect) -> _Compiled:
        found = self._compiled.get(dialect.name)
        if found is None:
            compiled = self._statement.compile(dialect=dialect)
            order = list(compiled.positiontup) if compiled.positional else None
            found = _Compiled(str(compiled), order, dict(compiled.params))
            self._compiled[dialect.name] = found
        return found
