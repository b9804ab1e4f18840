"""What has arrived on the streams that a journaled service reads?

One ordered reader per input with a buffer in front of the core. A task exists only while nothing
is there and somebody must be woken. It does not know what the messages mean.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from penstock_bus.port import Bus, Reader, StoredMessage

log = logging.getLogger(__name__)

BUFFERED_MAX = 2_000
"""Messages held in front of the core; the reader holds the rest."""


class Input(msgspec.Struct, frozen=True):
    """A stream that is read exactly once. `decode` never raises: bad bytes become an event, or
    nothing. It gives the events of one message, in order."""

    stream: str
    decode: Callable[[StoredMessage], Sequence[Any]]
    subject: str = ""


class InputQueue:
    """The messages of one input behind a cursor, in order."""

    def __init__(self, bus: Bus, source: Input, wake: Callable[[], None]) -> None:
        self.stream = source.stream
        self.decode = source.decode
        self.buffer: deque[StoredMessage] = deque()
        self.rewinds = 0
        self._subject = source.subject
        self._bus = bus
        self._wake = wake
        self._reader: Reader | None = None
        self._waiting: asyncio.Task[list[StoredMessage]] | None = None

    async def open(self, after_seq: int, *, rewound: bool = False) -> int:
        """Begin behind a cursor; returns where reading really begins: elsewhere only when the
        broker has lost what stood there (`rewound`: a reader has said so), which is an alert."""
        await self.close()
        state = await self._bus.stream_state(self.stream)
        begin = after_seq
        if rewound or not state.first_seq - 1 <= after_seq <= state.last_seq:
            begin = max(0, state.first_seq - 1)
            self.rewinds += 1
            log.critical(
                "%s no longer holds what follows %d (it holds %d to %d): reading on behind %d",
                self.stream, after_seq, state.first_seq, state.last_seq, begin,
            )  # fmt: skip
        self._reader = await self._bus.reader(self.stream, after_seq=begin, subject=self._subject)
        return begin

    def gather(self) -> None:
        """Move what has arrived into the buffer. Raises StreamRewound."""
        if self._reader is None or len(self.buffer) >= BUFFERED_MAX:
            return
        if self._waiting is not None:
            if not self._waiting.done():
                return
            waiting, self._waiting = self._waiting, None
            self.buffer.extend(waiting.result())
        self.buffer.extend(self._reader.take_ready())

    def watch(self) -> None:
        """Wake the service at the next message."""
        if self._waiting is None and self._reader is not None:
            self._waiting = asyncio.ensure_future(self._reader.next_batch())
            self._waiting.add_done_callback(lambda _: self._wake())

    async def close(self) -> None:
        """Forget what was read and not taken."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()
        self.buffer.clear()
