"""How do those outside learn what happened to their jobs?

Publishes public facts after they are committed, in journal order, never awaiting one. On every
start and reconnect it looks at the last one the broker has and goes on behind it from the journal.
Each fact names the stream's sequence that it follows, so the broker refuses what would leave a gap
or repeat something; one fact at a time is acknowledged, which tells soon when that has happened. So
the stream has each fact once and in order, also while its leader is away or two publish. It is a
registered reader of JOBS. It does not decide anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from functools import partial

import msgspec

from penstock_bus.port import (
    Appended,
    Bus,
    BusRefusal,
    Outage,
    Reader,
    StoredMessage,
    StreamRewound,
)
from penstock_contracts.errors import MALFORMED
from penstock_contracts.journal import JobFact
from penstock_runtime.cursors import publish_cursor
from penstock_runtime.entries import Committed, entry_decoder
from penstock_scheduler.public_facts import public_messages

log = logging.getLogger(__name__)

CURSOR_LAG_S = 150.0
"""FACTS is persisted with a delay: the journal keeps what may still have to be published again."""
LOOK_S = 0.5
"""So long from one look at the stream to the next: a full broker refuses each fact at once."""
STORED_S_MAX = 5.0
"""So long the broker may take to say that it has stored a fact."""
EXPECTED_SEQUENCE = "Nats-Expected-Last-Sequence"


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
        self._position = _Position()
        self._facts_seq = 0  # the stream's last sequence, once all that was sent is stored
        self._stored_seq = 0  # as far as the broker has said so
        self._unsure_seq = 0  # what was sent when we looked last
        self._awaited = False
        self._run = 0  # answers to an earlier run mean nothing
        self._broken = False
        self._disconnects = 0
        self._next_look_s = 0.0
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
        self._broken = True
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.ensure_future(self._catch_up())

    async def stop(self) -> None:
        """End; what is unpublished is published by the next one."""
        self._live = False
        self._run += 1
        if self._catching_up is not None:
            self._catching_up.cancel()
            await asyncio.gather(self._catching_up, return_exceptions=True)

    def on_commit(self, entry: Committed) -> None:
        """Publishes a fresh entry at once, unless an older one is still to come."""
        if not self._live:
            return
        if self._disconnects != self._bus.counters.get("disconnects", 0):
            self.start()  # back before we heard of it: what was on the way may be lost
        elif entry.seq > self._published_seq and not self._publish_next(entry):
            self.start()

    def _publish_next(self, entry: Committed) -> bool:
        return entry.seq == self._published_seq + 1 and self._publish(entry, self._told(entry.seq))

    def _told(self, seq: int) -> int:
        """The index of the last fact of that entry that the stream had when we looked last: an
        entry can be read, and told, before its own commit is acknowledged."""
        return self._position.index if seq == self._position.seq else -1

    async def publish_cursor(self, now_s: float) -> None:
        """Says how far the journal is needed no more. Call every few seconds."""
        await self._look_after_the_last()
        if self._live:
            self._passed.append((now_s, self._published_seq))
        seq = 0
        while self._passed and self._passed[0][0] <= now_s - CURSOR_LAG_S:
            seq = self._passed.popleft()[1]
        if seq:
            await publish_cursor(self._bus, "JOBS", "facts", seq)

    async def _look_after_the_last(self) -> None:
        """Has the stream what was sent when we looked last? The newest facts may be those that
        nobody acknowledges."""
        if not self._live or self._awaited or self._stored_seq >= self._facts_seq:
            return
        run, unsure_seq, self._unsure_seq = self._run, self._unsure_seq, self._facts_seq
        state = await self._bus.stream_state("FACTS")
        if run != self._run:
            return
        self._stored_seq = max(self._stored_seq, min(state.last_seq, self._facts_seq))
        if self._stored_seq < unsure_seq:
            self._missed("the last facts did not arrive")

    async def _reconnected(self) -> None:
        self.start()

    async def _catch_up(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._live:
            if (wait_s := self._next_look_s - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            self._next_look_s = loop.time() + LOOK_S
            try:
                await self._catch_up_once()
            except (Outage, BusRefusal, StreamRewound) as error:
                log.warning("facts wait for the broker: %s", error)

    async def _catch_up_once(self) -> None:
        self._disconnects = self._bus.counters.get("disconnects", 0)
        self._run += 1
        self._broken = self._awaited = False
        self._position = await self._last_told()
        self._published_seq = max(0, self._position.seq - 1)
        first = (await self._bus.stream_state("JOBS")).first_seq
        self._published_seq = max(self._published_seq, first - 1)
        reader = await self._bus.reader("JOBS", after_seq=self._published_seq)
        try:
            await self._follow(reader)
        finally:
            await reader.close()

    async def _last_told(self) -> _Position:
        state = await self._bus.stream_state("FACTS")
        self._facts_seq = self._stored_seq = self._unsure_seq = state.last_seq
        if not state.messages:
            return _Position()
        last = await self._bus.read("FACTS", state.last_seq)
        if last is None:
            raise Outage(f"FACTS {state.last_seq} cannot be read yet")
        return _position.decode(last.payload)

    async def _follow(self, reader: Reader) -> None:
        while self._published_seq < self._last_seq():
            for message in await reader.next_batch():
                entry = self._decoded(message)
                if entry is not None and not self._publish(entry, self._told(message.seq)):
                    return
                self._published_seq = message.seq
            if self._broken:
                return
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
                    self._send(subject, payload, headers)
        except Outage:
            return False
        self._published_seq = entry.seq
        return True

    def _send(self, subject: str, payload: bytes, headers: dict[str, str]) -> None:
        """Raises Outage. Acknowledged when no other is: an idle mesh hears of each loss at once, a
        busy one pays for one acknowledgement a round trip."""
        after = self._facts_seq
        if self._awaited:
            headers[EXPECTED_SEQUENCE] = str(after)
            self._bus.publish_nowait(subject, payload, headers)
        else:
            self._awaited = True
            self._bus.append_nowait(
                subject,
                payload,
                partial(self._on_stored, self._run),
                expected_last_seq=after,
                headers=headers,
                timeout_s=STORED_S_MAX,
            )
        self._facts_seq = after + 1

    def _on_stored(self, run: int, result: Appended | Exception) -> None:
        if run != self._run:
            return
        self._awaited = False
        if isinstance(result, Appended):
            self._stored_seq = result.seq
        else:
            self._missed(str(result))

    def _missed(self, reason: str) -> None:
        self.counters["facts_missed"] += 1
        log.info("facts go out again from the last one stored: %s", reason)
        self.start()
