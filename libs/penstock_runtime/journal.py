"""How does a decided entry get into the journal, and who else wrote there?

The fenced append of one writer with its lost-acknowledgement protocol: after a time-out the same
bytes go out again until they are acknowledged or refused, and then what stands at the expected
place tells the rest. It does not know the state that the entries make.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from penstock_bus.port import Bus, BusRefusal, Outage, StoredMessage, WrongSequence
from penstock_runtime.entries import Committed, encode_entry
from penstock_runtime.transition import Draft

log = logging.getLogger(__name__)

RETRY_S = 0.1
REFUSED_RETRY_S = 1.0
APPEND_S_MAX = 5.0

T = TypeVar("T")


class SteppedDown(Exception):
    """Another writer has opened the same or a higher term: this process must end."""


class JournalConflict(Exception):
    """An older writer's entry, or rubbish, stands where ours was to go: fold it and decide anew."""


class JournalLost(Exception):
    """The journal does not reach what is known to have been in it. Starting would reuse sequences
    and forget work, so a person must decide (restore the stream, or begin with a new one)."""


class Stopping(Exception):
    """The process was asked to stop while the broker did not answer."""


class JournalWriter:
    """Appends as one writer in one term. `last_seq` is the sequence of the newest entry known."""

    def __init__(
        self,
        bus: Bus,
        *,
        stream: str,
        subject: str,
        writer: str,
        new_id: Callable[[], str],
        decode: Callable[[StoredMessage], Committed | None],
        stopping: Callable[[], bool],
    ) -> None:
        self.term = 0
        self.last_seq = 0
        self.counters: Counter[str] = Counter()
        self.trouble: str | None = None
        self._bus = bus
        self._stream = stream
        self._subject = subject
        self._writer = writer
        self._new_id = new_id
        self._decode = decode
        self._stopping = stopping

    async def commit(self, draft: Draft, now_ns: int) -> Committed:
        """Append one entry behind `last_seq` and return once it is known to be there.

        Raises SteppedDown, JournalConflict, JournalLost, Stopping.
        """
        entry_id = self._new_id()
        payload = encode_entry(
            term=self.term,
            writer=self._writer,
            entry_id=entry_id,
            now_ns=now_ns,
            cursors=draft.cursors,
            facts=draft.encoded,
        )
        try:
            await self._append(payload)
        except WrongSequence:
            await self._look_who_wrote(entry_id)
        self.last_seq += 1
        self.counters["entries"] += 1
        self.counters["facts"] += len(draft.facts)
        self.counters["entry_bytes"] += len(payload)
        return Committed(
            seq=self.last_seq,
            term=self.term,
            writer=self._writer,
            entry_id=entry_id,
            now_ns=now_ns,
            cursors=draft.cursors,
            facts=draft.facts,
        )

    async def _append(self, payload: bytes) -> None:
        """Send the identical bytes until the broker says stored or WrongSequence."""
        while True:
            try:
                stored = await self._bus.append(
                    self._subject,
                    payload,
                    expected_last_seq=self.last_seq,
                    timeout_s=APPEND_S_MAX,
                )
            except (Outage, BusRefusal) as error:
                await self._pause(error)
                continue
            self.trouble = None
            if stored.seq != self.last_seq + 1:
                raise JournalLost(
                    f"{self._stream} stored the entry at {stored.seq}, not {self.last_seq + 1}"
                )
            return

    async def _pause(self, error: Outage | BusRefusal) -> None:
        refused = isinstance(error, BusRefusal)
        self.counters["append_refusals" if refused else "append_retries"] += 1
        if self.trouble is None:
            log.error("%s takes no entry, repeating it: %s", self._stream, error)
        self.trouble = f"{self._stream} takes no entry: {error}"
        if self._stopping():
            raise Stopping(self.trouble) from error
        await asyncio.sleep(REFUSED_RETRY_S if refused else RETRY_S)

    async def _look_who_wrote(self, entry_id: str) -> None:
        """Return when the entry at the expected place is ours, else raise what that means."""
        place = self.last_seq + 1
        message = await until_answered(lambda: self._bus.read(self._stream, place), self._stopping)
        self.trouble = None
        if message is None:
            await self._explain_absence(place)
            raise JournalConflict(f"{self._stream} {place} is purged already")
        entry = self._decode(message)
        if entry is None:
            self.counters["entries_skipped"] += 1
            raise JournalConflict(f"{self._stream} {place} is undecodable")
        if entry.entry_id == entry_id:
            self.counters["acks_lost"] += 1
            return
        if entry.term >= self.term:
            raise SteppedDown(
                f"{entry.writer} has term {entry.term} at {self._stream} {place},"
                f" ours is {self.term}"
            )
        self.counters["rivals"] += 1
        raise JournalConflict(f"{entry.writer} of term {entry.term} wrote {self._stream} {place}")

    async def _explain_absence(self, place: int) -> None:
        state = await until_answered(lambda: self._bus.stream_state(self._stream), self._stopping)
        if state.last_seq < place:
            raise JournalLost(
                f"{self._stream} ends at {state.last_seq}, but {place - 1} was acknowledged"
            )


async def until_answered(ask: Callable[[], Awaitable[T]], stopping: Callable[[], bool]) -> T:
    """Repeat an idempotent question to the broker through an outage; raises Stopping."""
    while True:
        try:
            return await ask()
        except Outage as error:
            if stopping():
                raise Stopping(str(error)) from error
        await asyncio.sleep(RETRY_S)
