"""For how long is kept what agents sent, word for word?

The raw segments of a closed month are kept for a while, for whoever doubts its bill. Then their
content is dropped, a bounded number in one transaction; what identifies them stays, so that one
sent again is still known, and ledger lines stay, so that all that is derived can still be made
anew. It does not know when a month is closed.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import sqlalchemy as sa

from penstock_metering.bills.tables import periods
from penstock_metering.core.months import month_bounds_ms
from penstock_metering.ledger import schema
from penstock_metering.ledger.ingest import DatabaseBusy, Ingest
from penstock_metering.threads import Run
from penstock_runtime.clock import Clock

log = logging.getLogger(__name__)

LOOK_S = 3_600.0
PAUSE_S = 0.05
"""Between two transactions, so that what arrives meanwhile does not wait."""
GRANTS_AT_ONCE = 200
DAY_MS = 86_400_000
FORGOTTEN = "RAW forgotten"
"""Among the cursors: of grants whose use ended before that instant (Unix ms) no raw content is
left."""

_leases, _raw, _cursors = schema.leases, schema.raw_segments, schema.cursors


class Retention:
    """Raw segments are kept `kept_days` after the close of the month in which their lease ended."""

    def __init__(self, ingest: Ingest, write: Run, clock: Clock, kept_days: int) -> None:
        self._ingest = ingest
        self._write = write
        self._clock = clock
        self._kept_ms = kept_days * DAY_MS

    async def run(self) -> None:
        """Until cancelled. Raises Superseded."""
        while True:
            try:
                await self._forget()
            except DatabaseBusy as error:
                log.warning("old raw segments stay for now: %s", error)
            await asyncio.sleep(LOOK_S)

    async def _forget(self) -> None:
        before_ms = self._clock.now_ns() // 1_000_000 - self._kept_ms
        grant: int | None = 0
        while grant is not None:
            step = partial(forget_some, closed_before_ms=before_ms, after_grant=grant)
            grant = await self._write(self._ingest.change, step)
            await asyncio.sleep(PAUSE_S)


def forget_some(
    connection: sa.Connection, closed_before_ms: int, after_grant: int, limit: int = GRANTS_AT_ONCE
) -> int | None:
    """Drop the content of some grants' segments; where to go on, None = all is done."""
    month = connection.execute(
        sa.select(sa.func.max(periods.c.month)).where(periods.c.closed_ms < closed_before_ms)
    ).scalar()
    if month is None:
        return None
    end_ms = month_bounds_ms(month)[1]
    done_ms = connection.execute(
        sa.select(_cursors.c.seq).where(_cursors.c.stream == FORGOTTEN)
    ).scalar()
    if done_ms is not None and done_ms >= end_ms:
        return None
    ended = sa.func.max(sa.func.coalesce(_leases.c.released_ms, end_ms))
    grants = connection.execute(
        sa.select(_leases.c.lease_seq, ended.label("ended_ms"))
        .where(_leases.c.lease_seq > after_grant)
        .group_by(_leases.c.lease_seq)
        .order_by(_leases.c.lease_seq)
        .limit(limit)
    ).all()
    over = [grant.lease_seq for grant in grants if grant.ended_ms < end_ms]
    connection.execute(
        sa.update(_raw).where(_raw.c.lease_seq.in_(over), _raw.c.payload != "").values(payload="")
    )
    if len(grants) == limit:
        last: int = grants[-1].lease_seq
        return last
    connection.execute(sa.delete(_cursors).where(_cursors.c.stream == FORGOTTEN))
    connection.execute(sa.insert(_cursors).values(stream=FORGOTTEN, seq=end_ms))
    return None
