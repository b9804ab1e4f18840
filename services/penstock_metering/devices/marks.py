"""Which nodes' time must be derived again?

Marked in the transaction that stores the cause; slices and demand are stored there too. It does not
know what deriving does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from penstock_metering.devices import tables
from penstock_metering.ledger import schema
from penstock_metering.ledger.database import Database
from penstock_metering.ledger.segment_rows import Accepted

if TYPE_CHECKING:
    from penstock_metering.ledger.store import Changes

_dirty, _balances = tables.dirty_device_days, tables.node_balances
_checkpoints = tables.audit_checkpoints


def mark_nodes(database: Database) -> MarkNodes:
    """A follower of ingest."""
    return MarkNodes(database)


class MarkNodes:
    def __init__(self, database: Database) -> None:
        self._mark = database.insert_absent(_dirty)
        self._store_slices = database.insert_absent(tables.device_slices)
        self._store_demand = database.insert_absent(tables.demand_changes)

    def __call__(
        self, connection: sa.Connection, changes: Changes, accepted: Sequence[Accepted]
    ) -> None:
        nodes = {message.node: None for message in changes.usage}
        nodes.update((lease.node, None) for lease in changes.leases)
        nodes.update((change.node, None) for change in changes.node_changes)
        if any(message.slices for message in changes.usage):
            self._add_slices(connection, changes)
        if changes.demand:
            self._store_demand.run(connection, [tuple(change) for change in changes.demand])
            first_ms = min(change.at_ms for change in changes.demand)
            passed = sa.select(_balances.c.node).where(_balances.c.upto_ms > first_ms)
            nodes.update((node, None) for node in connection.execute(passed).scalars())
        if changes.models_changed:  # what a device was free for depends on what it is
            begun_anew = sa.delete(_checkpoints).where(_checkpoints.c.node.in_(list(changes.nodes)))
            connection.execute(begun_anew)
        self._mark.run(connection, [(node,) for node in nodes])

    def _add_slices(self, connection: sa.Connection, changes: Changes) -> None:
        newest = connection.execute(sa.select(sa.func.max(schema.usage_batches.c.number))).scalar()
        first = (newest or 0) - len(changes.usage) + 1
        rows = [
            (
                message.node, message.boot_id, each.uuid, each.seq, each.t0_ms, each.t1_ms,
                each.energy_mj, each.used_milli_ms, first + place,
            )
            for place, message in enumerate(changes.usage)
            for each in message.slices
        ]  # fmt: skip
        self._store_slices.run(connection, rows)
