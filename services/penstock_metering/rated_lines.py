"""Which segments does rating take, and what are devices called?

It does not know what is done with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from penstock_metering import schema
from penstock_metering.core.rating import UsageLine
from penstock_metering.core.rows import LeaseKey, LeaseRow

NODES_AT_ONCE = 500

_lines, _batches, _leases = schema.ledger_lines, schema.usage_batches, schema.leases
_models = schema.device_models
_KEY = ("lease_seq", "job_id", "rank")


def select_lines() -> sa.Select[Any]:
    """Lines that the lease's own node sent: key of the lease, then as `UsageLine`."""
    own = sa.and_(_batches.c.number == _lines.c.batch_number, _batches.c.node == _leases.c.node)
    return (
        sa.select(
            *(_lines.c[name] for name in _KEY),
            _lines.c.seq,
            _lines.c.device,
            _lines.c.milli,
            _lines.c.t0_ms,
            _lines.c.t1_ms,
            _lines.c.energy_mj,
        )
        .join(_leases, sa.and_(*(_lines.c[name] == _leases.c[name] for name in _KEY)))
        .join(_batches, own)
    )


def read_lines(
    connection: sa.Connection, keys: Sequence[LeaseKey]
) -> dict[LeaseKey, list[UsageLine]]:
    """All lines of these leases."""
    of_leases = sa.tuple_(*(_leases.c[name] for name in _KEY)).in_(keys)
    return by_lease(connection.execute(select_lines().where(of_leases)))


def by_lease(rows: Iterable[Any]) -> dict[LeaseKey, list[UsageLine]]:
    found: dict[LeaseKey, list[UsageLine]] = {}
    for row in rows:
        found.setdefault((row[0], row[1], row[2]), []).append(UsageLine._make(row[3:]))
    return found


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
