"""What is read of leases to rate them?

The leases that are marked, or ran at some instant, what stands rated of them, and their segments.
A statement begins at the marks or at those leases, which are few, whatever a database thinks of
the sizes of tables: `CROSS JOIN` is how SQLite is told. It does not know what is done with the
rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from penstock_metering.core.rating import UsageLine
from penstock_metering.core.rows import LeaseKey, LeaseRow
from penstock_metering.ledger import schema
from penstock_metering.ledger.records import read_lease
from penstock_metering.rating import tables

NODES_AT_ONCE = 500
FROM_THE_FIRST = -2
"""Among marks, while they are worked off: read all segments of this lease."""

_models, _leases = schema.device_models, schema.leases
_OF_BATCH = "(d.lease_seq, d.job_id, d.rank) <= (:lease_seq, :job_id, :rank)"
_LINE = ", ".join(f"l.{name}" for name in ("lease_seq", "job_id", "rank", *UsageLine._fields))
_BY_ITS_NODE = "b.number = l.batch_number AND b.node = s.node"


def _same(one: str, other: str) -> str:
    names = ("lease_seq", "job_id", "rank")
    return " AND ".join(f"{one}.{name} = {other}.{name}" for name in names)


def _columns(table: sa.Table, alias: str) -> str:
    return ", ".join(f"{alias}.{column.name}" for column in table.columns)


_SELECT_LEASES = sa.text(
    f"SELECT {_columns(_leases, 's')} FROM dirty_leases d CROSS JOIN leases s "
    f"WHERE {_OF_BATCH} AND {_same('s', 'd')} ORDER BY s.lease_seq, s.job_id, s.rank"
)
_SELECT_RATED = sa.text(
    f"SELECT {_columns(tables.rated, 'r')} FROM dirty_leases d CROSS JOIN rated r "
    f"WHERE {_OF_BATCH} AND {_same('r', 'd')} ORDER BY r.lease_seq, r.job_id, r.rank, r.part"
)
_SELECT_NEW_LINES = sa.text(
    f"SELECT {_LINE} FROM dirty_leases d CROSS JOIN leases s CROSS JOIN ledger_lines l "
    f"CROSS JOIN usage_batches b WHERE {_OF_BATCH} AND {_same('s', 'd')} AND {_same('l', 'd')} "
    f"AND l.seq >= d.from_seq AND {_BY_ITS_NODE}"
)
_SELECT_ALL_LINES = sa.text(f"{_SELECT_NEW_LINES.text} AND d.from_seq = {FROM_THE_FIRST}")
_MARK_WHOLE = sa.text(
    f"UPDATE dirty_leases SET from_seq = {FROM_THE_FIRST} "
    "WHERE lease_seq = :lease_seq AND job_id = :job_id AND rank = :rank"
)


class Marked:
    """What there is of the leases up to `last`, all of them marked ones."""

    def __init__(self, connection: sa.Connection, last: LeaseKey) -> None:
        self._connection = connection
        self._bound = _named(last)

    def leases(self) -> list[LeaseRow]:
        return [read_lease(row) for row in self._connection.execute(_SELECT_LEASES, self._bound)]

    def rated(self) -> dict[LeaseKey, list[tuple[Any, ...]]]:
        return _rows_by_lease(self._connection.execute(_SELECT_RATED, self._bound))

    def new_lines(self) -> dict[LeaseKey, list[UsageLine]]:
        """From the segment on that each mark names."""
        return _by_lease(self._connection.execute(_SELECT_NEW_LINES, self._bound))

    def all_lines(self, keys: Sequence[LeaseKey]) -> dict[LeaseKey, list[UsageLine]]:
        """Of these leases, from their first segment on."""
        if not keys:
            return {}
        self._connection.execute(_MARK_WHOLE, [_named(key) for key in keys])
        return _by_lease(self._connection.execute(_SELECT_ALL_LINES, self._bound))


class Across:
    """What there is of leases, of one tenant (empty = all), that have a part of one day which
    reaches over an instant. Of segments only those that reach into the time between both."""

    def __init__(
        self, connection: sa.Connection, tenant: str, day: int, from_ms: int, to_ms: int
    ) -> None:
        self._connection = connection
        self._keys = _ACROSS.format(tenant="AND p.tenant = :tenant" if tenant else "")
        self._values: dict[str, Any] = {"day": day, "from_ms": from_ms, "to_ms": to_ms}
        if tenant:
            self._values["tenant"] = tenant

    def leases(self) -> list[LeaseRow]:
        order = "ORDER BY s.lease_seq, s.job_id, s.rank"
        text = f"SELECT {_columns(_leases, 's')} FROM k CROSS JOIN leases s WHERE"
        return [read_lease(row) for row in self._run(f"{text} {_same('s', 'k')} {order}")]

    def rated(self) -> dict[LeaseKey, list[tuple[Any, ...]]]:
        text = f"SELECT {_columns(tables.rated, 'r')} FROM k CROSS JOIN rated r WHERE"
        return _rows_by_lease(self._run(f"{text} {_same('r', 'k')}"))

    def lines(self) -> dict[LeaseKey, list[UsageLine]]:
        return _by_lease(
            self._run(
                f"SELECT {_LINE} FROM k CROSS JOIN leases s CROSS JOIN ledger_lines l "
                f"CROSS JOIN usage_batches b WHERE {_same('s', 'k')} AND {_same('l', 'k')} "
                f"AND l.t1_ms > :from_ms AND l.t0_ms < :to_ms AND {_BY_ITS_NODE}"
            )
        )

    def _run(self, text: str) -> Iterable[Any]:
        return self._connection.execute(sa.text(self._keys + text), self._values)


_ACROSS = (
    "WITH k AS (SELECT DISTINCT p.lease_seq, p.job_id, p.rank FROM rated p WHERE p.day = :day "
    "AND ((p.t0_ms < :from_ms AND p.t1_ms > :from_ms) OR (p.t0_ms < :to_ms AND p.t1_ms > :to_ms)) "
    "{tenant}) "
)


def read_models(
    connection: sa.Connection, leases: Iterable[LeaseRow]
) -> dict[tuple[str, str], str]:
    """The model of each device of the leases' nodes, by (node, device)."""
    nodes = sorted({lease.node for lease in leases})
    found = {}
    for first in range(0, len(nodes), NODES_AT_ONCE):
        asked = _models.c.node.in_(nodes[first : first + NODES_AT_ONCE])
        for row in connection.execute(sa.select(_models).where(asked)):
            found[row.node, row.uuid] = row.model
    return found


def _named(key: LeaseKey) -> dict[str, Any]:
    return {"lease_seq": key[0], "job_id": key[1], "rank": key[2]}


def _rows_by_lease(rows: Iterable[Any]) -> dict[LeaseKey, list[tuple[Any, ...]]]:
    found: dict[LeaseKey, list[tuple[Any, ...]]] = {}
    for row in rows:
        found.setdefault((row[0], row[1], row[2]), []).append(tuple(row))
    return found


def _by_lease(rows: Iterable[Any]) -> dict[LeaseKey, list[UsageLine]]:
    found: dict[LeaseKey, list[UsageLine]] = {}
    for row in rows:
        found.setdefault((row[0], row[1], row[2]), []).append(UsageLine._make(row[3:]))
    return found
