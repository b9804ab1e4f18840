"""What in a ledger must be the same whatever way it came to be?

Every table, but for what counts arrivals: the numbers of messages and of what was set aside, and
cursors of USAGE, where the same content may stand in another place or several times. A line names
the message that it came in by the node's own number for it. It does not know what is right.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from metering.conftest import Ledger
from penstock_metering.ledger import schema

Canonical = dict[str, list[Any]]

LEFT_OUT = {"cursors", "ledger_writer", "audit_checkpoints", "node_balances"}
"""Where a reader stands, who writes, and how far an audit was when it was asked."""
ARRIVALS = {
    schema.usage_batches: ("number", "usage_seq"),
    schema.quarantine: ("number", "seq"),
    schema.anomalies: ("number",),
}
"""Columns that say when or how often something arrived."""


def canonical(ledger: Ledger) -> Canonical:
    """Each table as sorted rows of text, which are equal if and only if their bytes are."""
    with ledger.database.reading.begin() as connection:
        messages = {
            row.number: f"{row.node} {row.boot_id} {row.batch}"
            for row in connection.execute(sa.select(schema.usage_batches))
        }
        return {
            table.name: _rows(connection, table, messages)
            for table in schema.metadata.sorted_tables
            if table.name not in LEFT_OUT
        }


def _rows(connection: sa.Connection, table: sa.Table, messages: dict[int, str]) -> list[str]:
    left_out = ARRIVALS.get(table, ())
    told = [
        repr(
            [
                messages[value] if column.name == "batch_number" else value
                for column, value in zip(table.columns, row, strict=True)
                if column.name not in left_out
            ]
        )
        for row in connection.execute(sa.select(table))
    ]
    return sorted(set(told) if left_out else told)
