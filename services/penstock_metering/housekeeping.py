"""What does metering keep tidy while it works?

Publishes up to where each stream is committed, and discards what every reader of the streams that
metering owns has committed. Late or failed housekeeping costs space, never truth. It does not know
what the streams hold.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from penstock_bus.port import Bus, BusRefusal, Outage
from penstock_contracts.streams import OWNERS, READERS
from penstock_metering.ledger.ingest import DatabaseBusy
from penstock_metering.progress import Progress
from penstock_runtime.cursors import (
    come_back,
    cursor_key,
    publish_cursor,
    read_cursors,
    waited_for,
)

log = logging.getLogger(__name__)

NAME = "metering"
PUBLISH_S = 5.0
PURGE_EVERY = 6
"""Purges come at every so many publications: once in 30 s."""


class Housekeeper:
    """`confirm` returns while this process may write the ledger; it raises DatabaseBusy and
    Superseded."""

    def __init__(
        self, bus: Bus, progress: Progress, confirm: Callable[[], Awaitable[None]]
    ) -> None:
        self._bus = bus
        self._progress = progress
        self._confirm = confirm
        self._published: dict[str, int] = {}
        self._is_back = False

    async def run(self) -> None:
        """Until cancelled. Raises Superseded."""
        round_number = 0
        while True:
            if not self._is_back:
                await self._come_back()
            await self.publish()
            round_number += 1
            if round_number % PURGE_EVERY == 0:
                await self._try_to_purge()
            await asyncio.sleep(PUBLISH_S)

    async def _come_back(self) -> None:
        """What is kept for nobody else is kept for us again; what went is a finding already."""
        try:
            for stream, readers in READERS.items():
                if NAME in readers and await come_back(self._bus, stream, NAME):
                    log.warning("%s was not kept for us: reading what is left", stream)
            self._is_back = True
        except (Outage, BusRefusal) as error:
            log.warning("cursors wait: %s", error)

    async def publish(self) -> None:
        """Say what is committed, as far as the broker answers. Raises Superseded."""
        try:
            for stream, seq in list(self._progress.committed.items()):
                before = self._published.get(stream)
                if before != seq:
                    # The first word of a life may be less than was said: the ledger is an older
                    # copy, and what it has not read must not be discarded. Spoken after a long
                    # standstill it is a predecessor's: so less is said by the writer only.
                    cut = before is None or seq < before
                    if await publish_cursor(
                        self._bus, stream, NAME, seq, cut=cut, confirm=self._confirm
                    ):
                        self._published[stream] = seq
        except (Outage, BusRefusal, DatabaseBusy) as error:
            log.warning("cursors wait: %s", error)

    async def _try_to_purge(self) -> None:
        try:
            await self.purge()
        except (Outage, BusRefusal) as error:
            log.warning("consumed messages stay for now: %s", error)

    async def purge(self) -> None:
        """Discard what every reader of the streams metering owns has committed. Raises Outage."""
        published = await read_cursors(self._bus)
        for stream, owner in OWNERS.items():
            if owner == NAME:
                readers = waited_for(published, stream, READERS[stream])
                cursors = (published.get(cursor_key(stream, name), 0) for name in readers)
                up_to = min(cursors, default=0)
                if (await self._bus.stream_state(stream)).first_seq <= up_to:
                    await self._bus.purge(stream, up_to_seq=up_to)
