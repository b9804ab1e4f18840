"""When are budgets settled and told?

A loop that settles what is new and sends what the scheduler is to hear; idle while there is no
budget. It does not know how that is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import sqlalchemy as sa

from penstock_bus.port import Bus, BusRefusal, Outage
from penstock_metering.budgets import outbox
from penstock_metering.budgets.accounts import step
from penstock_metering.budgets.telling import announce, read_accounts
from penstock_metering.ledger.ingest import DatabaseBusy, Ingest
from penstock_metering.threads import Run
from penstock_runtime.clock import Clock

log = logging.getLogger(__name__)

T = TypeVar("T")

SETTLE_S = 2.0
STEPS_MAX = 50
"""In a row, before what is said is sent."""


class BudgetKeeper:
    """For as long as this instance writes the ledger."""

    def __init__(self, bus: Bus, ingest: Ingest, write: Run, clock: Clock) -> None:
        self._bus = bus
        self._ingest = ingest
        self._write = write
        self._clock = clock
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Somebody has ordered something."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled. Raises Superseded."""
        announced = False
        while True:
            self._woken.clear()
            idle = False
            try:
                if not announced:
                    newest = await outbox.newest_sent(self._bus)
                    await self._change(partial(self._begin, newest=newest))
                    announced = True
                await self._settle()
                await self._send()
                idle = await self._change(_is_idle)
            except (Outage, BusRefusal, DatabaseBusy) as error:
                log.warning("budgets wait: %s", error)
            await self._pause(None if idle else SETTLE_S)

    async def _pause(self, pause_s: float | None) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _settle(self) -> None:
        for _ in range(STEPS_MAX):
            if not await self._change(lambda connection: step(connection, self._now_ms())):
                return

    async def _send(self) -> None:
        while messages := await self._change(outbox.waiting):
            sent = await outbox.send(self._bus, messages)
            if sent:
                await self._change(partial(outbox.forget, number=sent))
            if sent != messages[-1][0]:
                return

    def _begin(self, connection: sa.Connection, newest: int) -> None:
        """An older copy of the ledger, or a new one, would give numbers again: none is given up to
        the newest that was sent, nor, should that be gone, up to what the clock says."""
        last = outbox.last_number(connection)
        if last or newest:
            outbox.raise_number(connection, max(last, newest, self._now_ms()))
            announce(connection, self._now_ms())

    async def _change(self, work: Callable[[sa.Connection], T]) -> T:
        return await self._write(self._ingest.change, work)

    def _now_ms(self) -> int:
        return self._clock.now_ns() // 1_000_000


def _is_idle(connection: sa.Connection) -> bool:
    return not read_accounts(connection) and not outbox.waiting(connection)
