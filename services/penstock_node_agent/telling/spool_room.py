"""How much of the disk may output take that waits to be stored?

Gives back the room of what is stored, so that a job may write for ever; and where more waits than
there is room for, gives up the oldest of it, which the stream of output then says in its place. It
does not read or publish output.

A job writes its file itself: nothing here can hold it back. So the file keeps its size, and what
lies behind is punched out of it. Never before the journal has said so on the disk: what was punched
reads as zeros, and after a power loss nobody would know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from penstock_node_agent.core.events import LogsDropped
from penstock_node_agent.core.spools import progress
from penstock_node_agent.core.state import Drop, Spool, State
from penstock_node_agent.reaper.disk import Disk
from penstock_node_agent.telling.logs import Tail

PUNCH_BYTES_MIN = 1 << 20
"""Less is not worth a system call: most jobs never write as much."""
BLOCK_BYTES = 4096

Tails = Mapping[tuple[str, str], Tail]
Range = tuple[str, int, int]
"""A file's path, and the bytes [begin, end) of it."""

log = logging.getLogger(__name__)


class SpoolBounds(NamedTuple):
    """So much of one attempt's output may wait, and so much of all the node's; with less room than
    `free_bytes` left on the disk nothing new is taken."""

    attempt_bytes: int = 1 << 30
    node_bytes: int = 8 << 30
    free_bytes: int = 256 << 20


class SpoolRoom:
    """`hold` is called now and then, `release` whenever the journal is on the disk."""

    def __init__(
        self,
        state: State,
        disk: Disk,
        tails: Tails,
        on_event: Callable[[LogsDropped], None],
        bounds: SpoolBounds,
    ) -> None:
        self._state, self._disk, self._tails, self._on_event = state, disk, tails, on_event
        self._bounds = bounds
        self.wanted = False
        self._punched: dict[Tail, int] = {}
        self._hollow: dict[tuple[Tail, int], int] = {}
        self._punching: asyncio.Task[None] | None = None
        self.dropped_bytes = 0

    # -- what is stored ----------------------------------------------------------------------------
    def release(self) -> None:
        """The journal is on the disk: what it calls stored or given up is needed no more."""
        if not self.wanted or self._punching is not None:
            return
        self.wanted = False
        ranges: list[Range] = []
        for tail in self._tails.values():
            spool = self._state.spools.get(tail.key)
            if spool is not None:
                ranges += self._needless(tail, spool)
        if ranges:
            self._punching = asyncio.ensure_future(self._punch(ranges))

    def close(self) -> None:
        if self._punching is not None:
            self._punching.cancel()

    def _needless(self, tail: Tail, spool: Spool) -> list[Range]:
        ranges: list[Range] = []
        begin, end = self._punched.get(tail, 0), progress(spool, tail.stream)[1]
        if end - begin >= PUNCH_BYTES_MIN:
            ranges.append((tail.path, begin, end))
            self._punched[tail] = end
        for drop in spool.drops:
            if drop.stream == tail.stream:
                begin = self._hollow.get((tail, drop.start), drop.start)
                ranges.append((tail.path, begin, drop.end))
                self._hollow[tail, drop.start] = drop.end
        base = spool.bases.get(tail.stream, 0)
        inside = [(path, max(begin - base, 0), end - base) for path, begin, end in ranges]
        return [(path, begin, end) for path, begin, end in inside if begin < end]

    async def _punch(self, ranges: list[Range]) -> None:
        try:
            for path, begin, end in ranges:
                punch = partial(self._disk.punch, path, begin, end - begin)
                await asyncio.to_thread(punch)
        except OSError as error:
            log.error("no room is given back: %s", error)
        finally:
            self._punching = None
            here = set(self._tails.values())
            self._punched = {tail: end for tail, end in self._punched.items() if tail in here}
            self._hollow = {key: end for key, end in self._hollow.items() if key[0] in here}

    # -- what there is no room for -----------------------------------------------------------------
    def hold(self) -> None:
        """Give up what is beyond the bounds; what was written since the last call comes on top.
        Afterwards `wanted` says whether there is room to give back once the journal is on the
        disk."""
        tails = self._tails.values()
        punched = self._punched
        self.wanted |= any(tail.offset - punched.get(tail, 0) >= PUNCH_BYTES_MIN for tail in tails)
        self._hold()

    def _hold(self) -> None:
        waiting: dict[str, dict[Tail, int]] = {}
        for tail in self._tails.values():
            if tail.piece is not None or tail.waiting:  # else all of it was read
                size = self._waiting(tail)
                if size:
                    waiting.setdefault(tail.key, {})[tail] = size
        for tails in waiting.values():
            excess = sum(tails.values()) - self._bounds.attempt_bytes
            for tail in sorted(tails, key=lambda tail: -tails[tail]):
                if excess > 0:
                    given_up = self._give_up(tail, min(excess, tails[tail]))
                    tails[tail] -= given_up
                    excess -= given_up
        everything = {tail: size for tails in waiting.values() for tail, size in tails.items()}
        excess = sum(everything.values()) - self._bounds.node_bytes
        for tail in sorted(everything, key=lambda tail: -everything[tail]):
            if excess > 0:
                excess -= self._give_up(tail, min(excess, everything[tail]))

    def _waiting(self, tail: Tail) -> int:
        """Bytes on the disk that are neither under way nor given up."""
        drops = self._drops(tail)
        size = self._length(tail) - tail.unread
        return max(0, size - sum(drop.end - max(drop.start, tail.unread) for drop in drops))

    def _length(self, tail: Tail) -> int:
        """Of the stream as far as it is written."""
        spool = self._state.spools.get(tail.key)
        base = 0 if spool is None else spool.bases.get(tail.stream, 0)
        return base + self._disk.size(tail.path)

    def _drops(self, tail: Tail) -> list[Drop]:
        """What was given up and is not even under way."""
        spool = self._state.spools.get(tail.key)
        drops = () if spool is None else spool.drops
        return [drop for drop in drops if drop.stream == tail.stream and drop.end > tail.unread]

    def _give_up(self, tail: Tail, count: int) -> int:
        """The oldest `count` bytes, to the end of a block; returns how many."""
        drops = self._drops(tail)
        start = drops[-1].start if drops else tail.unread
        begin = drops[-1].end if drops else tail.unread
        end = min(-(-(begin + count) // BLOCK_BYTES) * BLOCK_BYTES, self._length(tail))
        if end <= begin:
            return 0
        if not drops:
            log.warning("no room for output", extra={"lease": tail.key, "offset": begin})
        self.dropped_bytes += end - begin
        self.wanted = True
        self._on_event(LogsDropped(key=tail.key, stream=tail.stream, start=start, end=end))
        return end - begin
