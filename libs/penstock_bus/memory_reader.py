"""What does a stream of the in-memory twin hold behind a cursor, and what comes next?

It sees a message when the announcement has come down the client's link, and catches up after a
partition or a crash, without gap or repeat. It does not know what the messages mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from penstock_bus.port import BusRefusal, Outage, StoredMessage, StreamRewound

if TYPE_CHECKING:
    from penstock_bus.memory_broker import MemoryBroker
    from penstock_bus.memory_session import MemorySession

BATCH = 500
MISSING_RETRY_S = 0.5


class MemoryReader:
    def __init__(
        self,
        broker: MemoryBroker,
        session: MemorySession,
        stream: str,
        after_seq: int,
        subject: str,
        on_close: Callable[[MemoryReader], None],
    ) -> None:
        self.stream = stream
        self._broker = broker
        self._session = session
        self._subject = subject
        self._cursor = after_seq
        self._on_close = on_close
        self._visible_seq = 0
        self._created_ns: int | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._closed = False

    # -- for the caller -------------------------------------------------------------------------
    async def next_batch(self) -> list[StoredMessage]:
        while True:
            batch = self.take_ready()
            if batch:
                return batch
            if self._failure is not None:
                raise self._failure
            if self._closed:
                raise Outage(f"the reader of {self.stream} is closed")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def take_ready(self) -> list[StoredMessage]:
        stream = self._broker.streams.get(self.stream)
        reachable = self._session.connected and not self._session.downlink.cut
        if stream is None or not reachable or self._closed or self._failure is not None:
            return []
        if stream.created_ns != self._created_ns:
            return []
        upcoming = stream.scan(self._cursor + 1, self._subject)
        batch = [m for m in islice(upcoming, BATCH) if m.seq <= self._visible_seq]
        if batch:
            self._cursor = batch[-1].seq
        return batch

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._wake()
            self._on_close(self)

    # -- for the session ------------------------------------------------------------------------
    def open(self) -> None:
        """At the broker; BusRefusal when there is no such stream."""
        stream = self._broker.stream(self.stream)
        if self._created_ns not in (None, stream.created_ns) or stream.last_seq < self._cursor:
            if not stream.config.memory:
                raise StreamRewound(
                    f"{self.stream} ends at {stream.last_seq}; this reader is at {self._cursor}"
                )
            self._cursor = 0
        self._created_ns = stream.created_ns
        self._visible_seq = stream.last_seq

    def announce(self, seq: int) -> None:
        self._visible_seq = max(self._visible_seq, seq)
        self._wake()

    def resume(self) -> None:
        """The connection is back: catch up, or learn what was lost."""
        if self._closed or self._failure is not None or not self._broker.up:
            return
        try:
            self.open()
        except StreamRewound as error:
            self._failure = error
        except BusRefusal:  # a memory stream is missing until its owner makes it again
            asyncio.get_running_loop().call_later(MISSING_RETRY_S, self.resume)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
