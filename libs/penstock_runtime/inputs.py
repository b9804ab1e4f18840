"""What has arrived on the streams that a journaled service reads?

One ordered reader per input with a buffer in front of the core. A task exists only while nothing
is there and somebody must be woken. It does not know what the messages mean.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from penstock_bus.port import Bus, BusRefusal, Outage, Reader, StoredMessage
from penstock_runtime.cursors import publish_cursor

log = logging.getLogger(__name__)

BUFFERED_MAX = 2_000
"""Messages held in front of the core; the reader holds the rest."""


MENDED_POLL_S = 0.5


class Input(msgspec.Struct, frozen=True):
    """A stream that is read exactly once. `decode` never raises: bad bytes become an event, or
    nothing. It gives the events of one message, in order. `reader` is our name when the stream is
    another's journal: should it have lost what we have read, its owner learns how far that was and
    never gives those sequences again, so we wait there instead of reading all of it once more."""

    stream: str
    decode: Callable[[StoredMessage], Sequence[Any]]
    subject: str = ""
    reader: str = ""


class InputQueue:
    """The messages of one input behind a cursor, in order."""

    def __init__(self, bus: Bus, source: Input, wake: Callable[[], None]) -> None:
        self.stream = source.stream
        self.decode = source.decode
        self.buffer: deque[StoredMessage] = deque()
        self.rewinds = 0
        self._subject = source.subject
        self._name = source.reader
        self._bus = bus
        self._disconnects = 0
        self._until_mended: asyncio.Task[None] | None = None
        self._wake = wake
        self._reader: Reader | None = None
        self._waiting: asyncio.Task[list[StoredMessage]] | None = None

    async def open(self, after_seq: int, *, mark: int | None = None, rewound: bool = False) -> int:
        """Begin behind a cursor, whose message was stored at `mark`; returns where reading really
        begins: elsewhere only when the broker has lost what stood there (`rewound`: a reader has
        said so), which is an alert."""
        await self.close()
        self._disconnects = self._bus.counters.get("disconnects", 0)
        state = await self._bus.stream_state(self.stream, at_least=after_seq)
        begin = after_seq
        if self._name and after_seq > state.last_seq:
            self.rewinds += 1
            log.critical(
                "%s ends at %d, we had read up to %d: waiting for its owner to go beyond that",
                self.stream, state.last_seq, after_seq,
            )  # fmt: skip
            self._until_mended = asyncio.ensure_future(self._wait_until_mended(after_seq))
            return after_seq
        another = await self._is_another(after_seq, mark)
        if rewound or another or not state.first_seq - 1 <= after_seq <= state.last_seq:
            begin = max(0, state.first_seq - 1)
            self.rewinds += 1
            log.critical(
                "%s no longer holds what follows %d (it holds %d to %d): reading on behind %d",
                self.stream, after_seq, state.first_seq, state.last_seq, begin,
            )  # fmt: skip
        self._reader = await self._bus.reader(self.stream, after_seq=begin, subject=self._subject)
        return begin

    async def _is_another(self, seq: int, mark: int | None) -> bool:
        """Whether the broker has lost the message at our cursor and stored another there."""
        if mark is None:
            return False
        message = await self._bus.read(self.stream, seq)
        return message is not None and message.time_ns != mark

    async def _wait_until_mended(self, seq: int) -> None:
        while True:
            with suppress(Outage, BusRefusal):
                await publish_cursor(self._bus, self.stream, f"{self._name}-seen", seq)
                if (await self._bus.stream_state(self.stream)).last_seq >= seq:
                    self._wake()
                    return
            await asyncio.sleep(MENDED_POLL_S)

    def gather(self) -> bool:
        """Move what has arrived into the buffer; False when the stream must be opened again, as the
        broker was away or its owner has mended it. Raises StreamRewound."""
        if self._disconnects != self._bus.counters.get("disconnects", 0):
            return False
        if self._until_mended is not None:
            return not self._until_mended.done()
        if self._reader is None or len(self.buffer) >= BUFFERED_MAX:
            return True
        if self._waiting is not None:
            if not self._waiting.done():
                return True
            waiting, self._waiting = self._waiting, None
            self.buffer.extend(waiting.result())
        self.buffer.extend(self._reader.take_ready())
        return True

    def watch(self) -> None:
        """Wake the service at the next message."""
        if self._waiting is None and self._reader is not None:
            self._waiting = asyncio.ensure_future(self._reader.next_batch())
            self._waiting.add_done_callback(lambda _: self._wake())

    async def close(self) -> None:
        """Forget what was read and not taken."""
        tasks = [task for task in (self._waiting, self._until_mended) if task is not None]
        self._waiting = self._until_mended = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()
        self.buffer.clear()
