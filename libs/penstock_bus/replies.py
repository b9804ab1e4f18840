"""Which reply belongs to which request?

All replies of a connection arrive on one wildcard inbox; a number at the end of the subject finds
the waiting call. One sweeping timer enforces every deadline, so a call costs no task and no timer.
It does not know what the replies say, nor how they travel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from penstock_bus.port import BusRefusal, Outage
from penstock_bus.wire import ERROR_PERMISSION

T = TypeVar("T")

SWEEP_S = 0.05  # deadlines are met to this precision
WAITING_MAX = 100_000

OnReply = Callable[[bytes, "bytes | None", "Exception | None"], None]
"""(payload, header block, error); the error alone counts when it is not None."""


class ReplyBox:
    """The calls that wait for an answer, by number."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix + "."
        self._prefix_length = len(self._prefix)
        self._next = 0
        # number -> (deadline on the loop's clock, subject asked, callback, wants more than one
        # reply)
        self._waiting: dict[int, tuple[float, str, OnReply, bool]] = {}
        self._sweeping = False

    @property
    def subject(self) -> str:
        return self._prefix + "*"

    def __len__(self) -> int:
        return len(self._waiting)

    def expect(
        self, subject: str, timeout_s: float, on_reply: OnReply, *, many: bool = False
    ) -> tuple[int, str]:
        """Notes a call to `subject`; returns its number and its reply subject."""
        if len(self._waiting) >= WAITING_MAX:
            raise Outage(f"{WAITING_MAX} calls wait for the broker already")
        loop = asyncio.get_running_loop()
        self._next += 1
        number = self._next
        self._waiting[number] = (loop.time() + timeout_s, subject, on_reply, many)
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(SWEEP_S, self._sweep)
        return number, f"{self._prefix}{number}"

    def forget(self, number: int) -> None:
        self._waiting.pop(number, None)

    def deliver(self, subject: bytes, reply: bytes, payload: bytes, block: bytes | None) -> None:
        """A raw handler: hands the reply to the call that waits, if one still does."""
        number = int(subject[self._prefix_length :])
        entry = self._waiting.get(number)
        if entry is None:
            return
        if not entry[3]:
            del self._waiting[number]
        entry[2](payload, block, None)

    def fail_all(self, reason: str) -> None:
        """The connection is gone: whether the effects happened is unknown, and no reply will
        come."""
        for number, entry in list(self._waiting.items()):
            self._fail(number, entry[2], Outage(f"{entry[1]}: {reason}"))

    def refuse(self, subject: str) -> None:
        """The broker refused to publish on `subject` (case lost on the way): fail all who asked
        it."""
        for number, entry in list(self._waiting.items()):
            if entry[1].lower() == subject.lower():
                error = BusRefusal(ERROR_PERMISSION, f"not permitted to publish on {entry[1]}")
                self._fail(number, entry[2], error)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for number, entry in [item for item in self._waiting.items() if item[1][0] <= now]:
            self._fail(number, entry[2], Outage(f"{entry[1]}: no reply in time"))
        self._sweeping = bool(self._waiting)
        if self._sweeping:
            loop.call_later(SWEEP_S, self._sweep)

    def _fail(self, number: int, on_reply: OnReply, error: Exception) -> None:
        """In a turn of its own: a callback that calls again must not grow what is being walked."""
        if self._waiting.pop(number, None) is not None:
            asyncio.get_running_loop().call_soon(on_reply, b"", None, error)


def settle_future(future: asyncio.Future[T]) -> Callable[[T | Exception], None]:
    """A callback that ends the future, unless its awaiter has gone."""

    def on_done(result: T | Exception) -> None:
        if future.done():
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    return on_done
