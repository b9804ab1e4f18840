"""What does a journaled service keep tidy while it works?

Writes snapshots in the background, publishes its cursors and purges the streams it owns. Late or
failed housekeeping costs space, never truth. It does not know what the state means.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from penstock_bus.port import Bus, BusRefusal, Outage
from penstock_contracts.streams import STREAMS
from penstock_runtime.clock import Clock
from penstock_runtime.cursors import cursor_key, publish_cursor, read_cursors, waited_for
from penstock_runtime.snapshots import SnapshotStore
from penstock_runtime.transition import Core

log = logging.getLogger(__name__)

SNAPSHOT_BYTES = 64 * 1024 * 1024
"""Journal bytes after which a snapshot is due: what a restart replays at most."""
SNAPSHOT_INPUT = 10_000
"""Messages of one input after which a snapshot is due: they are kept until then, and a stream takes
so many of one subject only."""
SNAPSHOT_AGE_NS = 60 * 10**9
SNAPSHOT_REST = 50
"""A snapshot rests this many times the time it took: at most 2 % of the loop goes into them."""
FILL_ALERT = 0.7
"""A stream this full is an alert."""


class Keeper:
    """Snapshots, cursors and purges of one journaled service."""

    def __init__(
        self,
        bus: Bus,
        *,
        service: str,
        journal: str,
        inputs: Sequence[str],
        owns: Sequence[str],
        readers: Mapping[str, Sequence[str]],
        clock: Clock,
        snapshot_every: int,
    ) -> None:
        self.store = SnapshotStore(bus, service)
        self.counters: Counter[str] = Counter()
        self.snapshot_ms: float | None = None
        self.snapshot_bytes: int | None = None
        self._bus = bus
        self._service = service
        self._journal = journal
        self._inputs = inputs
        self._owns = owns
        self._readers = readers
        self._clock = clock
        self._every = snapshot_every
        self._seq = 0
        self._seq_before = 0
        self._cursors: dict[str, int] = {}
        self._bytes_at = 0
        self._taken_ns = clock.monotonic_ns()
        self._rest_ns = 0
        self.fill: dict[str, float] = {}
        self.seen_seq = 0
        self._bytes_max = {stream.name: stream.max_bytes for stream in STREAMS}
        self._cut: set[str] = set()
        self._purged: dict[str, int] = {}
        self._uploading: asyncio.Task[None] | None = None

    def begin(self, snapshot_seq: int, cursors: Mapping[str, int], entry_bytes: int) -> None:
        """State was recovered from the snapshot at `snapshot_seq` (0 = none)."""
        self._seq, self._seq_before = snapshot_seq, 0
        self._cursors = dict(cursors)
        self._bytes_at = entry_bytes

    def is_due(
        self, seq: int, entry_bytes: int, cursors: Mapping[str, int], *, at_end: bool = False
    ) -> bool:
        """Whether a snapshot should be taken now that the journal has come to `seq`."""
        if seq <= self._seq or (self._uploading is not None and not self._uploading.done()):
            return False
        if at_end:
            return True
        age_ns = self._clock.monotonic_ns() - self._taken_ns
        return age_ns >= self._rest_ns and (
            seq - self._seq >= self._every
            or entry_bytes - self._bytes_at >= SNAPSHOT_BYTES
            or age_ns >= SNAPSHOT_AGE_NS
            or any(cursors.get(name, 0) - self._cursors.get(name, 0) >= SNAPSHOT_INPUT
                   for name in self._inputs)
        )  # fmt: skip

    def take_snapshot(
        self, core: Core, *, seq: int, term: int, now_ns: int, cursors: Mapping[str, int],
        marks: Mapping[str, int], entry_bytes: int,
    ) -> None:  # fmt: skip
        """Encode committed state now and store it in the background."""
        begun_ns = self._clock.monotonic_ns()
        data = core.snapshot()
        self._taken_ns = self._clock.monotonic_ns()
        took_ns = self._taken_ns - begun_ns
        self._rest_ns = took_ns * SNAPSHOT_REST
        self._bytes_at = entry_bytes
        self.snapshot_ms = took_ns / 1e6
        self.snapshot_bytes = len(data)
        log.info(
            "snapshot",
            extra={"seq": seq, "bytes": len(data), "encode_ms": round(self.snapshot_ms, 1)},
        )
        self._uploading = asyncio.create_task(
            self._upload(
                data, seq=seq, term=term, now_ns=now_ns, cursors=dict(cursors), marks=dict(marks)
            )
        )

    async def finish_upload(self) -> None:
        """Wait until no snapshot is under way."""
        if self._uploading is not None:
            await self._uploading

    async def _upload(
        self, data: bytes, *, seq: int, term: int, now_ns: int, cursors: dict[str, int],
        marks: dict[str, int],
    ) -> None:  # fmt: skip
        try:
            await self.store.write(
                data, seq=seq, term=term, now_ns=now_ns, cursors=cursors, marks=marks,
                before_seq=self._seq,
            )  # fmt: skip
        except (Outage, BusRefusal) as error:
            self.counters["snapshot_failures"] += 1
            log.error("snapshot at %d is not stored: %s", seq, error)
            return
        self.counters["snapshots"] += 1
        self._seq_before, self._seq, self._cursors = self._seq, seq, cursors

    async def known_seq(self) -> int:
        """The highest sequence of the journal that any reader says it has seen. Raises Outage."""
        self._note_seen(await read_cursors(self._bus))
        return self.seen_seq

    def _note_seen(self, published: Mapping[str, int]) -> None:
        ours = f"{self._journal}."
        seen = (seq for key, seq in published.items() if key.startswith(ours))
        self.seen_seq = max(seen, default=0)

    async def tidy(self) -> None:
        """Publish what this service needs no more, and purge what nobody needs."""
        try:
            published = await read_cursors(self._bus)
            self._note_seen(published)
            await self._publish(published)
            if self._owns:
                await self._purge(published)
        except (Outage, BusRefusal) as error:
            self.counters["tidy_failures"] += 1
            log.warning("cursors and purges wait: %s", error)

    def rewound(self, stream: str) -> None:
        """An input was cut: what was said of it before the cut is said anew."""
        self._cut.add(stream)

    async def _publish(self, published: dict[str, int]) -> None:
        """Inputs: what the newest snapshot holds. Own journal: up to the snapshot before it, from
        which the state can be had also when the newest turns out damaged. A predecessor that had a
        newer snapshot has said more: that stands, unless the stream was cut."""
        needless = {name: self._cursors.get(name, 0) for name in self._inputs}
        needless[self._journal] = self._seq_before
        for stream, seq in needless.items():
            key = cursor_key(stream, self._service)
            before = published.get(key, 0)
            cut = stream in self._cut
            if seq <= before and not (cut and 0 < seq < before):
                continue
            if await publish_cursor(self._bus, stream, self._service, seq, cut=cut):
                published[key] = seq
                self._cut.discard(stream)

    async def _purge(self, published: Mapping[str, int]) -> None:
        for stream in self._owns:
            registered = waited_for(published, stream, self._readers.get(stream, ()))
            readers = dict.fromkeys(registered)
            if stream == self._journal or stream in self._inputs:
                readers[self._service] = None
            cursors = {name: published.get(cursor_key(stream, name), 0) for name in readers}
            least = min(cursors.values(), default=0)
            if stream == self._journal and least > self._purged.get(stream, 0):
                least = min(least, await self._spanned_seq())
            if least > self._purged.get(stream, 0):
                await self._bus.purge(stream, up_to_seq=least)
                self._purged[stream] = least
            await self._watch_fill(stream, cursors)

    async def _spanned_seq(self) -> int:
        """From where the journal is still needed should the newest snapshot turn out damaged, going
        by those that are there now: a broker that lost power may have lost what we have written,
        and what the cursors rest on."""
        seqs = await self.store.seqs()
        return seqs[1] if len(seqs) > 1 else 0

    async def _watch_fill(self, stream: str, cursors: Mapping[str, int]) -> None:
        """An alert names who holds the stream up, once each time it gets that full."""
        bytes_max = self._bytes_max.get(stream)
        if bytes_max is None:
            return
        state = await self._bus.stream_state(stream)
        before, fill = self.fill.get(stream, 0.0), state.bytes / bytes_max
        self.fill[stream] = fill
        if before < FILL_ALERT <= fill:
            laggard = min(cursors, key=lambda name: cursors[name], default="nobody")
            self.counters["fill_alerts"] += 1
            log.error(
                "%s is %d %% full: %s has read up to %d of %d",
                stream, round(fill * 100), laggard, cursors.get(laggard, 0), state.last_seq,
            )  # fmt: skip
