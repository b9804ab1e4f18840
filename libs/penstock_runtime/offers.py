"""How does a service's shell hand it what has no cursor?

Events of timers and heartbeats join the next transition; whoever wants may be told what came of
them. It does not know how they are decided.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import Any

from penstock_runtime.entries import Committed
from penstock_runtime.transition import Offer, OnDone

OFFERS_MAX = 50_000
"""Events without a cursor that may wait for the next transition."""


class OfferTaker:
    """`waiting` is emptied by each transition."""

    def __init__(self) -> None:
        self.waiting: deque[Offer] = deque()
        self.counters: Counter[str] = Counter()

    def taking(self) -> bool:
        """Whether this instance decides anything now."""
        raise NotImplementedError

    def wake(self) -> None:
        """Something waits."""
        raise NotImplementedError

    def offer(self, event: Any) -> bool:
        """Let an event without a cursor (heartbeat, timer) join the next transition; False when
        this instance is not active or too much waits already: it is dropped and counted."""
        return self.submit_nowait(event, None)

    def submit_nowait(self, event: Any, on_done: OnDone | None) -> bool:
        """`offer` that tells `on_done` the entry with the event's (last) facts once committed, or
        None when nothing followed from it. It is called on committed state and must not raise;
        never when False is returned."""
        if not self.taking() or len(self.waiting) >= OFFERS_MAX:
            self.counters["offers_dropped"] += 1
            return False
        self.waiting.append(Offer(event, on_done))
        self.wake()
        return True

    def submit(self, event: Any) -> asyncio.Future[Committed | None]:
        """`submit_nowait` to await; cancelled when the event is not taken."""
        future: asyncio.Future[Committed | None] = asyncio.get_running_loop().create_future()

        def tell(entry: Committed | None) -> None:
            if not future.done():
                future.set_result(entry)

        if not self.submit_nowait(event, tell):
            future.cancel()
        return future
