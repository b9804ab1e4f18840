"""What did a job write, byte by byte and in order?

Chunks come live by a core subscription and are kept in the stream LOGS; each says at which offset
of its output it begins. Live chunks are taken while they join up; a gap is filled from the stream.
Where a node had no room for output, a chunk says how much was dropped. Memory stays bounded: what
the reader does not take in time is read from the stream later. It does not know where the bytes go.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType

import msgspec

from penstock_bus.port import Bus, BusRefusal, Message, Outage, Subscription
from penstock_client.log_gaps import STREAM, Output, fill, place
from penstock_client.log_times import before
from penstock_client.subjects import ANY, subject_of
from penstock_contracts.output import Piece, piece_of

LIVE_BYTES_MAX = 32 * 1024 * 1024
PATIENCE_S = 10.0
"""After the end of a job its last output is awaited this long, then called missing."""
CHECK_S = 0.02
CHECK_S_MAX = 0.5
"""How soon the stream is asked again for what should be here and is not; doubled each time."""
SCAN_MAX = 64

_OUTPUT = re.compile(r"(?:.*\.)?([0-9]{1,9})\.([0-9]{1,5})\.(stdout|stderr)", re.DOTALL)

Key = tuple[int, int, str]
"""(attempt, rank, stdout|stderr)"""


class LogChunk(msgspec.Struct, frozen=True):
    """Consecutive bytes of one output, beginning at `offset`; or, without any, how many its node
    has dropped there."""

    attempt: int
    rank: int
    stream: str
    offset: int
    data: bytes
    dropped: int = 0


class MissingOutput(msgspec.Struct, frozen=True):
    """Bytes `[start, end)` of an output that are nowhere to be had."""

    attempt: int
    rank: int
    stream: str
    start: int
    end: int


class LogReader:
    """A job's output, each byte once and in order per output. `async with` subscribes.

    Iterate `stored()` for what is there now, or `follow()` until `end()` has been called and all is
    here. `missing` then lists what is not. `rank` None = all ranks. Only what was stored between
    `since_ns` and `until_ns` (the broker's clock); with the latter there is nothing to follow.
    """

    def __init__(
        self,
        bus: Bus,
        tenant: str,
        job_id: str,
        *,
        rank: int | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> None:
        self._bus = bus
        self._rank = rank
        self._since_ns, self._until_ns = since_ns, until_ns
        self._sought = since_ns is None
        self._skipped_seq = 0
        self._names = {"tenant": tenant, "job_id": job_id}
        self._filter = self._subject(ANY, ANY if rank is None else str(rank), ANY)
        self._outputs: dict[Key, Output] = {}
        self._live: deque[tuple[Key, Piece]] = deque()
        self._live_bytes = 0
        self._wake = asyncio.Event()
        self._subscription: Subscription | None = None
        self._give_up_at: float | None = None
        self._promised = True
        self._scanned_seq = 0
        self.missing: list[MissingOutput] = []

    async def __aenter__(self) -> LogReader:
        self._subscription = await self._bus.subscribe(self._filter, self._on_message)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._subscription is not None:
            await self._subscription.close()

    def reconnected(self) -> None:
        """The connection was away: look whether something was missed."""
        for output in self._outputs.values():
            output.suspect(self._now())
        self._wake.set()

    def end(self, log_bytes: dict[str, int] | None, patience_s: float = PATIENCE_S) -> None:
        """The job has ended; `log_bytes` per `<attempt>.<rank>.<stream>` says how much there is."""
        self._promised = bool(log_bytes)
        for name, size in (log_bytes or {}).items():
            key = _key_of(name)
            if key is not None and (self._rank is None or key[1] == self._rank):
                output = self._output(key)
                output.promised = max(size, output.promised)
        self._give_up_at = self._now() + patience_s
        self._wake.set()

    async def stored(self) -> AsyncIterator[list[LogChunk]]:
        """What the stream holds now, in the order in which it was stored. Raises Outage."""
        if not self._sought:
            self._skipped_seq = await before(self._bus, self._filter, self._since_ns or 0)
            self._scanned_seq, self._sought = self._skipped_seq, True
        while batch := await self._bus.read_many(
            STREAM, self._scanned_seq + 1, self._filter, limit=SCAN_MAX
        ):
            chunks: list[LogChunk] = []
            for message in batch:
                if self._until_ns is not None and message.time_ns >= self._until_ns:
                    if chunks:
                        yield chunks
                    return
                self._scanned_seq = message.seq
                key = _key_of(message.subject)
                piece = piece_of(message.payload, message.headers)
                if key is None or piece is None:
                    continue
                output = self._output(key)
                if not output.placed:
                    output.offset, output.placed = piece.offset, True
                if piece.offset > output.offset:
                    chunks += await self._filled(output, piece.offset)
                chunks += self._admit(output, piece)
                output.before_seq = message.seq
            if chunks:
                yield chunks

    async def follow(self) -> AsyncIterator[list[LogChunk]]:
        """Live output until the end; what is then missing stands in `missing`."""
        pause_s = CHECK_S
        while True:
            if chunks := self._take_live():
                yield chunks
                pause_s = CHECK_S
                continue
            ended = self._give_up_at is not None
            if ended and self._promised and not self._open():
                return
            late = self._give_up_at is not None and self._now() >= self._give_up_at
            try:
                for output in self._open() if ended else self._behind():
                    give_up = late or self._now() - output.behind_since_s > PATIENCE_S
                    async for chunks in self._fill(output, give_up=give_up):
                        yield chunks
                if ended and not self._promised and not self._live:
                    async for chunks in self.stored():
                        yield chunks
                    return
            except (Outage, BusRefusal):
                pass  # the stream cannot be asked now; the deadline decides
            if late:
                self._note_missing()
                return
            waits = ended or bool(self._behind())
            await self._wait(pause_s if waits else None)
            pause_s = min(2 * pause_s, CHECK_S_MAX) if waits else CHECK_S

    # -- live -------------------------------------------------------------------------------------
    def _on_message(self, message: Message) -> None:
        key = _key_of(message.subject)
        piece = piece_of(message.payload, message.headers)
        if key is None or piece is None:
            return
        if self._live_bytes + len(message.payload) > LIVE_BYTES_MAX:
            self._output(key).hear(piece.end, self._now())
        else:
            self._live.append((key, piece))
            self._live_bytes += len(message.payload)
        self._wake.set()

    def _take_live(self) -> list[LogChunk]:
        """All that waits and joins up; what does not join up marks its output as behind."""
        chunks: list[LogChunk] = []
        while self._live:
            key, piece = self._live.popleft()
            self._live_bytes -= len(piece.data)
            output = self._output(key)
            if output.placed:
                chunks += self._admit(output, piece)
            output.hear(piece.end, self._now())
        return chunks

    def _admit(self, output: Output, piece: Piece) -> list[LogChunk]:
        """The part of a piece that is new and next, if there is one."""
        if piece.offset > output.offset or piece.end <= output.offset:
            return []
        fresh = piece.behind(output.offset)
        output.offset = piece.end
        return [LogChunk(*output.key, fresh.offset, fresh.data, fresh.dropped)]

    async def _wait(self, timeout_s: float | None) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), timeout_s)
        except TimeoutError:
            return
        self._wake.clear()

    # -- the stream -------------------------------------------------------------------------------
    async def _fill(self, output: Output, *, give_up: bool) -> AsyncIterator[list[LogChunk]]:
        if not output.placed:
            await place(self._bus, output, self._skipped_seq)
        async for piece in fill(self._bus, output, skip_holes=give_up):
            if piece.offset > output.offset:
                self._skip_to(output, piece.offset)
            if chunks := self._admit(output, piece):
                yield chunks

    async def _filled(self, output: Output, until: int) -> list[LogChunk]:
        """A hole met while reading old output: what the stream has for it, stored late."""
        chunks: list[LogChunk] = []
        async for piece in fill(self._bus, output, skip_holes=True, until=until):
            if piece.offset > output.offset:
                self._skip_to(output, piece.offset)
            chunks += self._admit(output, piece)
        if output.offset < until:
            self._skip_to(output, until)
        return chunks

    def _skip_to(self, output: Output, offset: int) -> None:
        self.missing.append(MissingOutput(*output.key, output.offset, offset))
        output.offset = offset

    def _note_missing(self) -> None:
        for output in self._open():
            self._skip_to(output, output.promised)

    def _open(self) -> list[Output]:
        """Outputs of which the job's end promised more than is here."""
        return [output for output in self._outputs.values() if output.offset < output.promised]

    def _behind(self) -> list[Output]:
        return [output for output in self._outputs.values() if output.is_behind]

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _output(self, key: Key) -> Output:
        output = self._outputs.get(key)
        if output is None:
            subject = self._subject(str(key[0]), str(key[1]), key[2])
            output = self._outputs[key] = Output(key, subject)
            output.placed = self._since_ns is None
        return output

    def _subject(self, attempt: str, rank: str, stream: str) -> str:
        return subject_of("job_log", **self._names, attempt=attempt, rank=rank, stream=stream)


def _key_of(subject: str) -> Key | None:
    """Attempt, rank and stream name at the end of a log subject; None when it is not one."""
    found = _OUTPUT.fullmatch(subject)
    return None if found is None else (int(found[1]), int(found[2]), found[3])
