"""How do messages get from the streams into the ledger?

One reader per stream fills a bounded buffer; one loop commits all that has arrived, again and
again, and tells everybody waiting how far it came. It does not know what messages mean, nor who
may write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from typing import Any

from penstock_bus.port import Bus, BusRefusal, Outage, Reader, StoredMessage, StreamRewound
from penstock_metering.ledger.ingest import STREAMS, DatabaseBusy, Ingest
from penstock_metering.progress import Progress
from penstock_metering.threads import Run

log = logging.getLogger(__name__)

BUFFERED_BYTES_MAX = 16 * 1024 * 1024
"""Of one stream, waiting for the next commit; the reader holds the rest."""
GATHER_S = 1.0
"""How long a commit is put off for more to come, so that a quiet mesh costs few transactions. Who
asks about jobs or use has what arrived before committed first."""
GATHER_BYTES_MAX = 1024 * 1024
"""So much of one stream is committed without waiting for more."""
COMMIT_PAUSE_S = 0.05
"""After a commit, also when somebody waits: busy times cost few transactions."""
RETRY_S = 1.0
OPEN_RETRY_S = 0.2


class Inflow:
    """One stream on its way to the ledger. `newest_seq`: as far as is known to exist."""

    def __init__(
        self,
        bus: Bus,
        stream: str,
        ingest: Ingest,
        run: Run,
        progress: Progress,
        wake: asyncio.Event,
        storing: asyncio.Lock,
    ) -> None:
        self.stream = stream
        self.is_open = False
        self.newest_seq = 0
        self.buffered_bytes = 0
        self._bus = bus
        self._ingest = ingest
        self._run = run
        self._progress = progress
        self._wake = wake
        self._storing = storing
        self._buffer: list[StoredMessage] = []
        self._taken = asyncio.Event()

    async def read_for_ever(self) -> None:
        while True:
            reader = await self._open()
            try:
                while True:
                    self._add(await reader.next_batch())
                    while self.buffered_bytes > BUFFERED_BYTES_MAX:
                        self._taken.clear()
                        await self._taken.wait()
            except StreamRewound as error:
                log.critical("%s has lost what was read: %s", self.stream, error)
                self.take()  # uncommitted, and perhaps never to be: it is read anew
            finally:
                await reader.close()

    def take(self) -> list[StoredMessage]:
        messages, self._buffer = self._buffer, []
        self.buffered_bytes = 0
        self._taken.set()
        return messages

    def _add(self, messages: list[StoredMessage]) -> None:
        self._buffer.extend(messages)
        self.buffered_bytes += sum(len(message.payload) for message in messages)
        self.newest_seq = messages[-1].seq
        self._progress.arrive(self.stream, self.newest_seq)
        self._wake.set()
        if self.buffered_bytes > GATHER_BYTES_MAX:
            self._progress.hurry.set()

    async def _open(self) -> Reader:
        """Begin behind the committed cursor, or where the stream really ends or begins."""
        self.is_open = False
        while True:
            try:
                async with self._storing:
                    begin = await self._find_begin()
                self._progress.arrive(self.stream, begin)
                reader = await self._bus.reader(self.stream, after_seq=begin)
                self.is_open = True
                return reader
            except (Outage, BusRefusal, DatabaseBusy) as error:
                log.warning("%s cannot be read yet: %s", self.stream, error)
                await asyncio.sleep(OPEN_RETRY_S)

    async def _find_begin(self) -> int:
        """What is read again counts once: its segments are known."""
        cursor, stored_ns = await self._run(self._ingest.position, self.stream)
        state = await self._bus.stream_state(self.stream, at_least=cursor)
        begin = min(max(cursor, state.first_seq - 1), state.last_seq)
        if begin == cursor and stored_ns and cursor >= state.first_seq:
            message = await self._bus.read(self.stream, cursor)
            if message is not None and message.time_ns != stored_ns:
                begin = state.first_seq - 1  # the stream was cut, and has grown past the cursor
        if begin != cursor:
            await self._run(self._ingest.jump, self.stream, begin)
            self._progress.advance({self.stream: begin})
        self.newest_seq = state.last_seq
        return begin


class Intake:
    """All streams into one ledger."""

    def __init__(self, bus: Bus, ingest: Ingest, progress: Progress, run: Run) -> None:
        self.retries = 0
        self._ingest = ingest
        self._progress = progress
        self._run = run
        self._arrived = asyncio.Event()
        self._storing = asyncio.Lock()
        """Held until a batch is stored, however often that must be tried: what an inflow learns of
        its stream's end must not come between."""
        self.inflows = {
            stream: Inflow(bus, stream, ingest, run, progress, self._arrived, self._storing)
            for stream in STREAMS
        }

    def why_not_ready(self) -> str | None:
        closed = [name for name, inflow in self.inflows.items() if not inflow.is_open]
        return f"cannot read {', '.join(closed)} yet" if closed else None

    def work(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What must run for ever, each as a task; cancelled, what has arrived by then is committed
        or will be read again. Raises Superseded."""
        for inflow in self.inflows.values():
            yield inflow.read_for_ever()
        yield self._commit_for_ever()

    async def _commit_for_ever(self) -> None:
        self._progress.advance(self._ingest.cursors)
        while True:
            await self._arrived.wait()
            await self._gather()
            self._arrived.clear()
            async with self._storing:
                arrived = {name: inflow.take() for name, inflow in self.inflows.items()}
                await self._commit(arrived)
            self._progress.advance(self._ingest.cursors)
            await asyncio.sleep(COMMIT_PAUSE_S)

    async def _gather(self) -> None:
        """Let more arrive, unless somebody waits or enough is there."""
        hurry = self._progress.hurry
        hurry.clear()
        inflows = self.inflows.values()
        if self._progress.awaited or any(i.buffered_bytes > GATHER_BYTES_MAX for i in inflows):
            return
        try:
            async with asyncio.timeout(GATHER_S):
                await hurry.wait()
        except TimeoutError:
            pass  # time is up: commit what is there

    async def _commit(self, arrived: dict[str, list[StoredMessage]]) -> None:
        while True:
            try:
                return await self._run(self._ingest.commit, arrived)
            except DatabaseBusy as error:
                self.retries += 1
                log.error("the ledger cannot be written, trying again: %s", error)
                await asyncio.sleep(RETRY_S)
