"""How do those outside learn what happened to their jobs?

Publishes public facts after they are committed, in journal order, never awaiting one. On every
start and reconnect it reads the last one the broker has and goes on behind it from the journal, so
the stream has each fact once and in order. It is a registered reader of JOBS. It does not decide
anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable

import msgspec

from penstock_bus.port import Bus, BusRefusal, Outage, Reader, StoredMessage, StreamRewound
from penstock_contracts.errors import MALFORMED
from penstock_contracts.ids import ROOT
from penstock_contracts.journal import JobFact
from penstock_runtime.cursors import publish_cursor
from penstock_runtime.entries import Committed, entry_decoder
from penstock_scheduler.public_facts import public_messages

log = logging.getLogger(__name__)

CURSOR_LAG_S = 150.0
"""FACTS is persisted with a delay: the journal keeps what may still have to be published again."""
RETRY_S = 0.5


class _Position(msgspec.Struct):
    seq: int = 0
    index: int = -1


_position = msgspec.json.Decoder(_Position)
_decode_entry = entry_decoder(JobFact)


class FactPublisher:
    """Lives as long as its scheduler is active. `last_seq` gives the newest committed entry."""

    def __init__(self, bus: Bus, *, last_seq: Callable[[], int]) -> None:
        self.counters: Counter[str] = Counter()
        self._bus = bus
        self._last_seq = last_seq
        self._live = False
        self._published_seq = 0
        self._disconnects = 0
        self._catching_up: asyncio.Task[None] | None = None
        self._passed: deque[tuple[float, int]] = deque()
        bus.on_reconnect(self._reconnected)

    @property
    def caught_up(self) -> bool:
        """Whether every committed entry is told, and the next will be at once."""
        return self._live

    @property
    def published_seq(self) -> int:
        """The newest entry whose facts went out."""
        return self._published_seq

    def start(self) -> None:
        """Begin, or begin again behind what the broker has."""
        self._live = False
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.ensure_future(self._catch_up())

    async def stop(self) -> None:
        """End; what is unpublished is published by the next one."""
        self._live = False
        if self._catching_up is not None:
            self._catching_up.cancel()
            await asyncio.gather(self._catching_up, return_exceptions=True)

    def on_commit(self, entry: Committed) -> None:
        """Publishes a fresh entry at once, unless an older one is still to come."""
        if not self._live:
            return
        if self._disconnects != self._bus.counters.get("disconnects", 0):
            self.start()  # back before we heard of it: what was on the way may be lost
        elif entry.seq != self._published_seq + 1 or not self._publish(entry, -1):
            self.start()

    async def publish_cursor(self, now_s: float) -> None:
        """Says how far the journal is needed no more. Call every few seconds."""
        if self._live:
            self._passed.append((now_s, self._published_seq))
        seq = 0
        while self._passed and self._passed[0][0] <= now_s - CURSOR_LAG_S:
            seq = self._passed.popleft()[1]
        if seq:
            await publish_cursor(self._bus, "JOBS", "facts", seq)

    async def _reconnected(self) -> None:
        self.start()

    async def _catch_up(self) -> None:
        while not self._live:
            try:
                await self._catch_up_once()
            except (Outage, BusRefusal, StreamRewound) as error:
                log.warning("facts wait for the broker: %s", error)
                await asyncio.sleep(RETRY_S)

    async def _catch_up_once(self) -> None:
        self._disconnects = self._bus.counters.get("disconnects", 0)
        position = _Position()
        last = await self._bus.read_last("FACTS", f"{ROOT}.>")
        if last is not None:
            position = _position.decode(last.payload)
        self._published_seq = max(0, position.seq - 1)
        first = (await self._bus.stream_state("JOBS")).first_seq
        self._published_seq = max(self._published_seq, first - 1)
        reader = await self._bus.reader("JOBS", after_seq=self._published_seq)
        try:
            await self._follow(reader, position)
        finally:
            await reader.close()

    async def _follow(self, reader: Reader, position: _Position) -> None:
        while self._published_seq < self._last_seq():
            for message in await reader.next_batch():
                entry = self._decoded(message)
                after = position.index if message.seq == position.seq else -1
                if entry is not None and not self._publish(entry, after):
                    return
                self._published_seq = message.seq
        self._live = True

    def _decoded(self, message: StoredMessage) -> Committed | None:
        try:
            return _decode_entry(message)
        except MALFORMED as error:
            self.counters["entries_undecodable"] += 1
            log.error("JOBS entry %d has no public facts: %s", message.seq, error)
            return None

    def _publish(self, entry: Committed, after_index: int) -> bool:
        """False when the broker takes nothing now."""
        try:
            for index, subject, payload, headers in public_messages(entry):
                if index > after_index:
                    self._bus.publish_nowait(subject, payload, headers)
        except Outage:
            return False
        self._published_seq = entry.seq
        return True
