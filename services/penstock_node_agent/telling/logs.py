"""How does a job's output leave the node?

Tails spool files and publishes what is new, at once, in chunks with their offset: one chunk per
stream is under way, what is written meanwhile goes into the next. What the broker has stored is an
event, so that tailing goes on there after a restart. Where output was given up, it says so in place
of the bytes. It does not know when an attempt is over, nor how much room there is (`spool_room`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable

from penstock_bus.port import Appended, Bus
from penstock_contracts.ids import ROOT
from penstock_contracts.output import Piece, headers_of
from penstock_node_agent.core.events import LogsCut, LogsDelivered
from penstock_node_agent.core.spools import progress
from penstock_node_agent.core.state import Spool, State
from penstock_node_agent.reaper.disk import Disk
from penstock_node_agent.workplace.slots import STREAMS, Slots

CHUNK_BYTES_MAX = 128 * 1024
FLYING_BYTES_MAX = 1 << 20
"""Unacknowledged output of all streams together; the rest waits on disk. A report waits in the same
socket behind no more than that."""
RETRY_S = 0.5

log = logging.getLogger(__name__)


class Tail:
    """One stream of one attempt. `offset`: stored by the broker up to here; `piece`: under way."""

    __slots__ = ("disk", "file", "key", "offset", "path", "piece", "stream", "subject", "waiting")

    def __init__(self, disk: Disk, key: str, stream: str, path: str, spool: Spool) -> None:
        self.disk, self.key, self.stream, self.path = disk, key, stream, path
        self.offset = spool.out if stream == "stdout" else spool.err
        self.subject = (
            f"{ROOT}.log.{spool.tenant}.{spool.job_id}.{spool.attempt}.{spool.rank}.{stream}"
        )
        self.piece: Piece | None = None
        self.file: int | None = None
        self.waiting = False

    @property
    def unread(self) -> int:
        """Where what is not under way begins."""
        return self.offset if self.piece is None else self.piece.end

    def next(self, spool: Spool) -> Piece | None:
        """What is to be said at `offset`; None while there is nothing."""
        count = CHUNK_BYTES_MAX
        for drop in spool.drops:
            if drop.stream == self.stream and drop.end > self.offset:
                if drop.start <= self.offset:
                    return Piece(self.offset, b"", drop.end - self.offset)
                count = min(count, drop.start - self.offset)
        data = self._read(count, self.offset - spool.bases.get(self.stream, 0))
        return Piece(self.offset, data) if data else None

    def _read(self, count: int, position: int) -> bytes:
        if self.file is None:
            self.file = self.disk.open(self.path)
            if self.file is None:
                return b""
        return self.disk.pread(self.file, count, position)

    def close(self) -> None:
        if self.file is not None:
            self.disk.close(self.file)
            self.file = None


class LogShipper:
    """`state` is read only; `on_event` takes LogsDelivered and LogsCut."""

    def __init__(
        self,
        bus: Bus,
        state: State,
        disk: Disk,
        slots: Slots,
        on_event: Callable[[LogsDelivered | LogsCut], None],
    ) -> None:
        self._bus, self._state, self._on_event = bus, state, on_event
        self._disk, self._slots = disk, slots
        self.tails: dict[tuple[str, str], Tail] = {}
        self._key_of_slot: dict[int, str] = {}
        self._waiting: deque[Tail] = deque()
        self._flying_bytes = 0
        self._closed = False
        self.failures = 0

    def expect(self, key: str, slot: int) -> None:
        """The attempt is about to write into this slot."""
        self._key_of_slot[slot] = key

    def grown(self, names: Iterable[str] | None) -> None:
        """These spool files have new bytes; None: look at all."""
        if names is None:
            for key in self._state.spools:
                self.ship(key)
            return
        for name in names:
            where = self._slots.of_spool(name)
            if where is None:
                continue
            slot, stream = where
            key = self._key_of_slot.get(slot, "")
            if key in self._state.spools:
                self._pump(self._tail(key, stream))

    def ship(self, key: str) -> None:
        """Publish whatever of this attempt is not yet."""
        spool = self._state.spools.get(key)
        if spool is None:
            return
        self.expect(key, spool.slot)
        for stream in STREAMS:
            final, done = progress(spool, stream)
            if final is None or done < final:
                self._pump(self._tail(key, stream))

    def forget(self, slot: int) -> None:
        """All of this slot's output is stored."""
        key = self._key_of_slot.pop(slot, None)
        for stream in STREAMS:
            tail = self.tails.pop((key or "", stream), None)
            if tail is not None:
                tail.close()

    def close(self) -> None:
        self._closed = True
        for tail in self.tails.values():
            tail.close()

    def _tail(self, key: str, stream: str) -> Tail:
        tail = self.tails.get((key, stream))
        if tail is None:
            spool = self._state.spools[key]
            path = self._slots.spool(spool.slot, stream)
            tail = Tail(self._disk, key, stream, path, spool)
            self.tails[key, stream] = tail
        return tail

    def _pump(self, tail: Tail) -> None:
        if tail.piece is not None or tail.waiting or self._closed:
            return
        spool = self._state.spools.get(tail.key)
        if spool is None or self.tails.get((tail.key, tail.stream)) is not tail:
            return  # all of it is stored, and its file may be another attempt's by now
        if self._flying_bytes >= FLYING_BYTES_MAX:
            tail.waiting = True
            self._waiting.append(tail)
            return
        piece = tail.next(spool)
        if piece is None and self._is_cut_off(tail, spool):
            piece = tail.next(spool)
        tail.piece = piece
        if piece is None:
            self._check_end(tail, spool)
        else:
            self._flying_bytes += len(piece.data)
            self._publish(tail, piece)

    def _publish(self, tail: Tail, piece: Piece) -> None:
        """The same bytes under the same id, as often as it takes."""
        if self._closed:
            return
        sign = "-" if piece.dropped else "+"
        self._bus.append_nowait(
            tail.subject,
            piece.data,
            lambda result: self._stored(tail, piece, result),
            message_id=f"{tail.subject}@{piece.offset}{sign}{piece.end - piece.offset}",
            headers=headers_of(piece),
        )

    def _stored(self, tail: Tail, piece: Piece, result: Appended | Exception) -> None:
        if self._closed:
            return
        if isinstance(result, Exception):
            self.failures += 1
            asyncio.get_running_loop().call_later(RETRY_S, self._publish, tail, piece)
            return
        self._flying_bytes -= len(piece.data)
        tail.offset, tail.piece = piece.end, None
        self._on_event(LogsDelivered(key=tail.key, stream=tail.stream, offset=tail.offset))
        self._pump(tail)
        while self._waiting and self._flying_bytes < FLYING_BYTES_MAX:
            next_tail = self._waiting.popleft()
            next_tail.waiting = False
            self._pump(next_tail)

    def _is_cut_off(self, tail: Tail, spool: Spool) -> bool:
        """Whether the job has emptied its own file, as `>/dev/stderr` does. What was in there and
        not read yet is gone; how much, nobody knows."""
        if progress(spool, tail.stream)[0] is not None:
            return False
        position = tail.offset - spool.bases.get(tail.stream, 0)
        if self._disk.size(tail.path) >= position:
            return False
        log.warning("a job has emptied its output file", extra={"lease": tail.key})
        self._on_event(LogsCut(key=tail.key, stream=tail.stream, offset=tail.offset))
        return True

    def _check_end(self, tail: Tail, spool: Spool) -> None:
        """A spool that has become shorter than it was at the end cannot be made whole: go on."""
        final = progress(spool, tail.stream)[0]
        if final is not None and tail.offset < final:
            log.error("output is missing", extra={"lease": tail.key, "offset": tail.offset})
            self._on_event(LogsDelivered(key=tail.key, stream=tail.stream, offset=final))
