"""What if what was derived is not believed?

Drops it, and marks everything it follows from, in one transaction; it is then derived as usual. It
does not touch facts, and what belongs to closed months is one.
"""

from __future__ import annotations

import sqlalchemy as sa

from penstock_contracts.rebuilding import RebuildLedger, Stale, StaleQuery
from penstock_metering.devices import device_time
from penstock_metering.devices.tables import dirty_device_days
from penstock_metering.rating import rater
from penstock_metering.rating.tables import dirty_leases


def rebuild(connection: sa.Connection, command: RebuildLedger, now_ms: int) -> Stale:
    rater.forget_open(connection)
    device_time.forget(connection)
    return _count(connection)


def answer_stale(connection: sa.Connection, question: StaleQuery, now_ms: int) -> Stale:
    return _count(connection)


def _count(connection: sa.Connection) -> Stale:
    counts = [
        connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        for table in (dirty_leases, dirty_device_days)
    ]
    return Stale(leases=counts[0], nodes=counts[1])
