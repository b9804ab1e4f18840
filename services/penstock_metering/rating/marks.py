"""Which leases must be rated, or rated again?

Marked in the transaction that stores the cause. A mark says from which segment on there is
something new. It does not know what rating does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from penstock_contracts.bounds import BIGINT_MAX
from penstock_metering.core.rows import LeaseKey
from penstock_metering.ledger import schema
from penstock_metering.ledger.database import Database
from penstock_metering.ledger.segment_rows import Accepted
from penstock_metering.rating import tables
from penstock_metering.rating.statements import statements

if TYPE_CHECKING:
    from penstock_metering.ledger.store import Changes

AGAIN = -1
"""Instead of a segment: from the first one on."""
NO_SEGMENT = BIGINT_MAX
"""Something about the lease itself is new."""

_KEY = ("lease_seq", "job_id", "rank")
_rated, _models = tables.rated, schema.device_models


def mark_again(connection: sa.Connection, keys: Iterable[LeaseKey]) -> None:
    """These are to be rated from their first segment on."""
    mark(connection, dict.fromkeys(keys, AGAIN))


def mark(connection: sa.Connection, first_new: Mapping[LeaseKey, int]) -> None:
    """The lowest new segment of each."""
    rows = [(*key, from_seq) for key, from_seq in first_new.items()]
    statements(connection).mark.run(connection, rows)


def mark_new(database: Database) -> MarkNew:
    """A follower of ingest."""
    return MarkNew()


class MarkNew:
    def __call__(
        self, connection: sa.Connection, changes: Changes, accepted: Sequence[Accepted]
    ) -> None:
        first_new: dict[LeaseKey, int] = {lease.key: NO_SEGMENT for lease in changes.leases}
        for item in accepted:
            lease_seq, job_id, rank, seq = item.posting.key
            key = (lease_seq, job_id, rank)
            if seq < first_new.get(key, NO_SEGMENT + 1):
                first_new[key] = seq
        mark(connection, first_new)
        if changes.models_changed:
            nodes = sorted(changes.nodes)
            mark_again(connection, _misnamed(connection, nodes, changes.models_renamed))


def _misnamed(connection: sa.Connection, nodes: Sequence[str], renamed: bool) -> list[LeaseKey]:
    """Leases rated when their devices' models were not known (an index holds the few of these), or
    were called something else."""
    statement = (
        sa.select(*(_rated.c[name] for name in _KEY))
        .distinct()
        .select_from(_rated)
        .join(_models, sa.and_(_rated.c.node == _models.c.node, _rated.c.device == _models.c.uuid))
        .where(_rated.c.node.in_(nodes), _rated.c.model != _models.c.model)
    )
    if not renamed:
        statement = statement.where(sa.text("rated.model = '' AND rated.device <> ''"))
    rows = connection.execute(statement)
    return [(row.lease_seq, row.job_id, row.rank) for row in rows]
