"""Where in the stream LOGS is the output that did not arrive live?

Finds the first stored chunk behind a known offset by bisection over the stream's sequence (offsets
of one output ascend in it, except where an agent sent some again), then reads on. It does not know
live chunks or whole jobs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from penstock_bus.port import Bus, StoredMessage
from penstock_contracts.output import Piece, piece_of

STREAM = "LOGS"
READ_MAX = 64


class Output:
    """How far one output (attempt, rank, stdout or stderr) has been read.

    `offset`: the next byte wanted. `before_seq`: a sequence of LOGS known to lie before it.
    `heard`: where a chunk that arrived live ended. `promised`: its final size, once the job's end
    says so. `placed` false: it is not wanted from its beginning, and nobody has looked yet at which
    offset it is.
    """

    __slots__ = (
        "_suspected",
        "before_seq",
        "behind_since_s",
        "heard",
        "key",
        "offset",
        "placed",
        "promised",
        "subject",
    )

    def __init__(self, key: tuple[int, int, str], subject: str) -> None:
        self.key = key
        self.subject = subject
        self.offset = 0
        self.placed = True
        self.before_seq = 0
        self.heard = 0
        self.promised = 0
        self.behind_since_s = 0.0
        self._suspected = False

    @property
    def is_behind(self) -> bool:
        """Whether the stream may hold more than has been read."""
        return self._suspected or self.offset < self.heard

    def hear(self, end: int, now_s: float) -> None:
        """A chunk up to `end` has arrived live, taken or not."""
        if end > self.offset and not self.is_behind:
            self.behind_since_s = now_s
        self.heard = max(self.heard, end)

    def suspect(self, now_s: float) -> None:
        """Something may have been missed."""
        if not self.is_behind:
            self.behind_since_s = now_s
        self._suspected = True

    def clear(self) -> None:
        """The stream has been read to its end."""
        self._suspected = False


async def fill(
    bus: Bus, output: Output, *, skip_holes: bool, until: int | None = None
) -> AsyncIterator[Piece]:
    """Stored pieces from `output.offset` on; the caller moves `output.offset`.

    At a hole it looks for a chunk stored late. If there is none it ends (the output stays behind),
    or with `skip_holes` goes on behind the hole. `until`: nothing beyond this offset is wanted.
    Raises Outage and BusRefusal.
    """
    last = await bus.read_last(STREAM, output.subject)
    if last is None or (until is None and _end_of(last) <= output.offset and not skip_holes):
        output.clear()
        return
    seq = await _seek(bus, output, last)
    while batch := await bus.read_many(STREAM, seq, output.subject, limit=READ_MAX):
        for message in batch:
            piece = piece_of(message.payload, message.headers)
            if piece is None:
                continue
            if piece.offset > output.offset:
                async for late in _stored_late(bus, output, message.seq):
                    yield late
                if piece.offset > output.offset and (
                    not skip_holes or _beyond(piece.offset, until)
                ):
                    return
            if piece.end > output.offset:
                yield piece
            output.before_seq = max(output.before_seq, message.seq)
        seq = batch[-1].seq + 1
        if _beyond(output.offset, until):
            return
    output.clear()


async def place(bus: Bus, output: Output, behind_seq: int) -> None:
    """Want it from what was first stored behind that sequence; where nothing was, from its end."""
    found = await bus.read_next(STREAM, behind_seq + 1, output.subject)
    piece = None if found is None else piece_of(found.payload, found.headers)
    if piece is not None:
        output.offset = piece.offset
    elif (last := await bus.read_last(STREAM, output.subject)) is not None:
        output.offset = _end_of(last)
    output.placed = True


async def _seek(bus: Bus, output: Output, last: StoredMessage) -> int:
    """A sequence from which reading finds `output.offset`, as late as can be told."""
    low, high = output.before_seq, last.seq
    while high - low > 1:
        middle = (low + high) // 2
        message = await bus.read_next(STREAM, middle, output.subject)
        if message is None or _end_of(message) > output.offset:
            high = middle
        else:
            low = message.seq
    return low + 1 if low < last.seq else last.seq


async def _stored_late(bus: Bus, output: Output, behind_seq: int) -> AsyncIterator[Piece]:
    """Pieces behind `behind_seq` that fill the hole at `output.offset`, one after the other."""
    seq = behind_seq + 1
    while batch := await bus.read_many(STREAM, seq, output.subject, limit=READ_MAX):
        for message in batch:
            piece = piece_of(message.payload, message.headers)
            if piece is not None and piece.offset <= output.offset < piece.end:
                yield piece
        seq = batch[-1].seq + 1


def _end_of(message: StoredMessage) -> int:
    piece = piece_of(message.payload, message.headers)
    return 0 if piece is None else piece.end


def _beyond(offset: int, until: int | None) -> bool:
    return until is not None and offset >= until
