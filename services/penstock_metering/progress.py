"""Up to where is each stream committed, and who waits for more?

One place on the event loop that the writer's commits are told to. It does not know what was
committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping


class Progress:
    def __init__(self) -> None:
        self.committed: dict[str, int] = {}
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []

    def advance(self, cursors: Mapping[str, int]) -> None:
        self.committed.update(cursors)
        still = []
        for stream, seq, future in self._waiting:
            if self.committed.get(stream, 0) < seq and not future.done():
                still.append((stream, seq, future))
            elif not future.done():
                future.set_result(None)
        self._waiting = still

    async def reach(self, stream: str, seq: int) -> None:
        """Return once everything of `stream` up to `seq` is committed."""
        if self.committed.get(stream, 0) < seq:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append((stream, seq, future))
            await future
