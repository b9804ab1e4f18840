"""Up to where is each stream committed, and who waits for more?

One place on the event loop that arrivals and the writer's commits are told to. It does not know
what was committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping


class Progress:
    """`hurry` is set when somebody waits: a commit should not be put off then."""

    def __init__(self) -> None:
        self.committed: dict[str, int] = {}
        self.hurry = asyncio.Event()
        self._arrived: dict[str, int] = {}
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []

    def arrive(self, stream: str, seq: int) -> None:
        """Everything of `stream` up to `seq` waits for a commit, or was committed."""
        self._arrived[stream] = seq

    def advance(self, cursors: Mapping[str, int]) -> None:
        self.committed.update(cursors)
        still = []
        for stream, seq, future in self._waiting:
            if self.committed.get(stream, 0) < seq and not future.done():
                still.append((stream, seq, future))
            elif not future.done():
                future.set_result(None)
        self._waiting = still

    @property
    def awaited(self) -> bool:
        return any(not future.done() for _, _, future in self._waiting)

    async def reach(self, stream: str, seq: int) -> None:
        """Return once everything of `stream` up to `seq` is committed."""
        if self.committed.get(stream, 0) < seq:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append((stream, seq, future))
            self.hurry.set()
            await future

    async def settle(self) -> None:
        """Return once everything that has arrived by now is committed."""
        for stream, seq in list(self._arrived.items()):
            await self.reach(stream, seq)
