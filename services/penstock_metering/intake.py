"""How do messages get from the streams into the ledger?

One follower per stream fills a bounded buffer; one loop commits all that has arrived, again and
again, and tells the followers and everybody waiting how far it came. It does not know what messages
mean.
"""

from __future__ import annotations

import asyncio
import logging

from penstock_bus.port import Bus, BusRefusal, Outage, StoredMessage, StreamRewound
from penstock_metering.ingest import STREAMS, DatabaseBusy, Ingest
from penstock_metering.progress import Progress
from penstock_metering.threads import Run
from penstock_runtime.cursors import Follower

log = logging.getLogger(__name__)

NAME = "metering"
BUFFERED_BYTES_MAX = 16 * 1024 * 1024
"""Of one stream, waiting for the next commit; the reader holds the rest."""
COMMIT_PAUSE_S = 0.05
"""After a commit, so that busy times cost few transactions; nobody waits for the ledger."""
RETRY_S = 1.0
OPEN_RETRY_S = 0.2


class Inflow:
    """One stream on its way to the ledger."""

    def __init__(
        self, bus: Bus, stream: str, ingest: Ingest, run: Run, wake: asyncio.Event
    ) -> None:
        self.stream = stream
        self.follower: Follower | None = None
        self.newest_seq = 0
        self._bus = bus
        self._ingest = ingest
        self._run = run
        self._wake = wake
        self._buffer: list[StoredMessage] = []
        self._buffered_bytes = 0
        self._taken = asyncio.Event()

    async def read_for_ever(self) -> None:
        while True:
            follower = await self._open()
            try:
                while True:
                    self._add(await follower.next_batch())
                    while self._buffered_bytes > BUFFERED_BYTES_MAX:
                        self._taken.clear()
                        await self._taken.wait()
            except StreamRewound as error:
                log.critical("%s has lost what was read: %s", self.stream, error)
                self.take()  # uncommitted, and perhaps never to be: it is read anew
            finally:
                await follower.close()

    def take(self) -> list[StoredMessage]:
        messages, self._buffer = self._buffer, []
        self._buffered_bytes = 0
        self._taken.set()
        return messages

    def _add(self, messages: list[StoredMessage]) -> None:
        self._buffer.extend(messages)
        self._buffered_bytes += sum(len(message.payload) for message in messages)
        self.newest_seq = messages[-1].seq
        self._wake.set()

    async def _open(self) -> Follower:
        """Begin behind the committed cursor, or where the stream really ends or begins."""
        self.follower = None
        while True:
            try:
                state = await self._bus.stream_state(self.stream)
                begin = await self._run(self._ingest.cursors.__getitem__, self.stream)
                if state.last_seq < begin:
                    log.critical(
                        "%s ends at %d, %d was read: reading on there",
                        self.stream, state.last_seq, begin,
                    )  # fmt: skip
                    begin = state.last_seq
                    await self._run(self._ingest.rewind, self.stream, begin)
                self.newest_seq = state.last_seq
                follower = Follower(self._bus, stream=self.stream, name=NAME, after_seq=begin)
                await follower.open()
                self.follower = follower
                return follower
            except (Outage, BusRefusal) as error:
                log.warning("%s cannot be read yet: %s", self.stream, error)
                await asyncio.sleep(OPEN_RETRY_S)


class Intake:
    """All streams into one ledger."""

    def __init__(self, bus: Bus, ingest: Ingest, progress: Progress, run: Run) -> None:
        self._ingest = ingest
        self._progress = progress
        self._run = run
        self._wake = asyncio.Event()
        self.retries = 0
        self.inflows = {stream: Inflow(bus, stream, ingest, run, self._wake) for stream in STREAMS}

    def why_not_ready(self) -> str | None:
        closed = [name for name, inflow in self.inflows.items() if inflow.follower is None]
        return f"cannot read {', '.join(closed)} yet" if closed else None

    async def run(self) -> None:
        """Until cancelled; what has arrived by then is committed or will be read again."""
        async with asyncio.TaskGroup() as tasks:
            for inflow in self.inflows.values():
                tasks.create_task(inflow.read_for_ever())
            tasks.create_task(self._commit_for_ever())

    async def _commit_for_ever(self) -> None:
        self._progress.advance(self._ingest.cursors)
        while True:
            await self._wake.wait()
            self._wake.clear()
            arrived = {name: inflow.take() for name, inflow in self.inflows.items()}
            await self._commit(arrived)
            self._progress.advance(self._ingest.cursors)
            for name, inflow in self.inflows.items():
                if inflow.follower is not None:
                    inflow.follower.committed(self._ingest.cursors[name])
            await asyncio.sleep(COMMIT_PAUSE_S)

    async def _commit(self, arrived: dict[str, list[StoredMessage]]) -> None:
        while True:
            try:
                return await self._run(self._ingest.commit, arrived)
            except DatabaseBusy as error:
                self.retries += 1
                log.error("the ledger cannot be written, trying again: %s", error)
                await asyncio.sleep(RETRY_S)
