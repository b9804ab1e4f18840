"""How is what follows from the ledger kept up with it?

What is stored marks what it makes stale; each derivation works off its own marks in small
transactions of whoever may write, now and then, and at once when somebody asks. So ingest never
waits for long, and a question finds what it asks about derived. It does not know what is derived.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import sqlalchemy as sa

from penstock_metering.budgets import accounts as budget_accounts
from penstock_metering.devices import device_time
from penstock_metering.ledger.ingest import DatabaseBusy, Ingest
from penstock_metering.rating import rater
from penstock_metering.threads import Run
from penstock_runtime.clock import Clock

log = logging.getLogger(__name__)

PACE_S = 5.0
"""How far behind what nobody asks for may be."""

Step = Callable[[sa.Connection, int], bool]
"""(connection, now_ms) → whether there may be more to do."""

DERIVATIONS: tuple[Step, ...] = (rater.step, budget_accounts.step, device_time.step)
"""In their order: later ones may read what earlier ones made."""


def derive_all(connection: sa.Connection, now_ms: int) -> None:
    """Until nothing is stale, within one transaction."""
    for step in DERIVATIONS:
        while step(connection, now_ms):
            pass


class Deriver:
    """`ingest` is set while this instance writes the ledger."""

    def __init__(self, write: Run, clock: Clock) -> None:
        self.ingest: Ingest | None = None
        self.unaccounted_ms: int | None = None
        """What the two accounts of device time differed by when nothing was stale last."""
        self._write = write
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Until cancelled. Raises Superseded."""
        while True:
            await asyncio.sleep(PACE_S)
            try:
                await self.catch_up()
                if self.ingest is not None:
                    self.unaccounted_ms = await self._write(
                        self.ingest.change, device_time.unaccounted_ms
                    )
            except DatabaseBusy as error:
                log.error("what follows from the ledger waits: %s", error)

    async def catch_up(self) -> None:
        """Return once nothing is stale. Raises DatabaseBusy and Superseded."""
        async with self._one_at_a_time:
            for step in DERIVATIONS:
                while self.ingest is not None:
                    if not await self._write(self._run, self.ingest, step):
                        break

    def _run(self, ingest: Ingest, step: Step) -> bool:
        now_ms = self._clock.now_ns() // 1_000_000
        return ingest.change(lambda connection: step(connection, now_ms))
