"""How does a test run hours in a moment?

An event loop whose clock jumps to the next timer as soon as nothing else is ready. It does not know
sockets."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.SelectSelector):
    """Instead of waiting, moves the clock."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits and no timer is set")
        self.now_s += max(timeout, 0.0)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s

    def time_ns(self) -> int:
        """A clock for the broker, from the loop's beginning."""
        return round(self._jumping.now_s * 1e9)


def run_virtual(main: Coroutine[Any, Any, T], loop: VirtualTimeLoop) -> T:
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()
