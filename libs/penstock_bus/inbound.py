"""What has the broker said?

A socket protocol that cuts the broker's bytes into messages and hands each to its handler at once,
in the turn of the loop in which they arrive. nats-py's own reader costs a task switch per read and
three calls per message. It does not know subscriptions, nor what control lines mean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# A control line is at most 4 KiB by the server's default; INFO of a large cluster is longer.
LINE_BYTES_MAX = 1024 * 1024

_M = ord("M")
_H = ord("H")

Deliver = Callable[[int, bytes, bytes, bytes, "bytes | None"], None]
"""(subscription id, subject, reply, payload, header block)"""


class Inbound(asyncio.Protocol):
    """Takes over a connected socket from `before`, which still hears of the flow of writing and of
    the end."""

    def __init__(
        self, before: asyncio.Protocol, deliver: Deliver, on_control: Callable[[bytes], None]
    ) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._before = before
        self._deliver = deliver
        self._on_control = on_control
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        buffer = self._rest + data if self._rest else bytes(data)
        end = len(buffer)
        at = 0
        while True:
            eol = buffer.find(b"\r\n", at)
            if eol < 0:
                if end - at > LINE_BYTES_MAX:
                    self._end()
                break
            first = buffer[at]
            if first != _M and first != _H:
                self._on_control(buffer[at:eol])
                at = eol + 2
                continue
            words = buffer[at:eol].split()
            start = eol + 2
            stop = start + int(words[-1])
            if stop + 2 > end:
                break
            at = stop + 2
            if first == _M:
                reply = words[3] if len(words) == 5 else b""
                self._deliver(int(words[2]), words[1], reply, buffer[start:stop], None)
            else:
                reply = words[3] if len(words) == 6 else b""
                body = start + int(words[-2])
                self._deliver(int(words[2]), words[1], reply, buffer[body:stop], buffer[start:body])
        self._rest = buffer[at:]

    def eof_received(self) -> bool:
        self._end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._before.connection_lost(exc)
        self._end()

    def pause_writing(self) -> None:
        self._before.pause_writing()

    def resume_writing(self) -> None:
        self._before.resume_writing()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
