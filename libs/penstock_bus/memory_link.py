"""What can go wrong between a client and the broker?

One direction of one client's connection in the in-memory twin: it delays, loses, doubles and
reorders by the given odds, or is cut. Without faults it keeps order and delivers in the next turn
of the loop. It does not know what it carries."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextvars import Context

import msgspec

REORDER_DELAYS = 3  # a reordered message waits up to so many times the usual delay


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """Odds in [0, 1] per message; delays are drawn evenly from [0, `delay_s_max`]."""

    loss: float = 0.0
    duplication: float = 0.0
    reorder: float = 0.0
    delay_s_max: float = 0.0


NO_FAULTS = Faults()


class Link:
    """`context`: in whose name effects run at the far end (a simulated process, or the broker)."""

    def __init__(self, rng: random.Random | None, context: Context) -> None:
        self.faults = NO_FAULTS
        self.cut = False
        self._rng = rng
        self._context = context
        self._queue: deque[tuple[float, Callable[[], None]]] = deque()
        self._scheduled = False
        self._epoch = 0

    def send(
        self, effect: Callable[[], None], *, lossy: bool = True, repeatable: bool = True
    ) -> None:
        """Runs `effect` at the far end, later. What is not `lossy` only waits; what is not
        `repeatable` is never doubled."""
        if self.cut:
            return
        rng, faults = self._rng, self.faults
        if rng is None or faults == NO_FAULTS:
            self._enqueue(effect, 0.0)
            return
        if lossy and rng.random() < faults.loss:
            return
        copies = 2 if lossy and repeatable and rng.random() < faults.duplication else 1
        for _ in range(copies):
            delay_s = rng.random() * faults.delay_s_max
            if lossy and rng.random() < faults.reorder:
                self._send_aside(effect, delay_s * REORDER_DELAYS)
            else:
                self._enqueue(effect, delay_s)

    def clear(self) -> None:
        """The connection broke: what was under way is gone."""
        self._queue.clear()
        self._epoch += 1

    def _send_aside(self, effect: Callable[[], None], delay_s: float) -> None:
        epoch = self._epoch

        def run() -> None:
            if epoch == self._epoch and not self.cut:
                effect()

        asyncio.get_running_loop().call_later(delay_s, run, context=self._context)

    def _enqueue(self, effect: Callable[[], None], delay_s: float) -> None:
        due = asyncio.get_running_loop().time() + delay_s
        if self._queue:
            due = max(due, self._queue[-1][0])  # nobody overtakes
        self._queue.append((due, effect))
        self._schedule()

    def _schedule(self) -> None:
        """One timer per link: equal timers of the loop would fire in no certain order."""
        if self._scheduled or not self._queue:
            return
        self._scheduled = True
        loop = asyncio.get_running_loop()
        if self._queue[0][0] <= loop.time():
            loop.call_soon(self._drain, context=self._context)
        else:
            loop.call_at(self._queue[0][0], self._drain, context=self._context)

    def _drain(self) -> None:
        self._scheduled = False
        now = asyncio.get_running_loop().time()
        for _ in range(len(self._queue)):
            if not self._queue or self._queue[0][0] > now:
                break
            _, effect = self._queue.popleft()
            if not self.cut:
                effect()
        self._schedule()
