"""How does a decided entry get into the journal, and who else wrote there?

The fenced append of one writer with its lost-acknowledgement protocol: after a time-out the same
bytes go out again until they are acknowledged or refused, and then what stands at the expected
place tells the rest. When the broker has lost the journal's end, the same entries are put back. It
does not know the state that the entries make.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter, deque
from collections.abc import Callable

from penstock_bus.port import Bus, BusRefusal, Outage, StoredMessage, WrongSequence
from penstock_runtime.entries import Committed, encode_entry
from penstock_runtime.outages import RETRY_S, Stopping, until_answered
from penstock_runtime.transition import Draft

log = logging.getLogger(__name__)

REFUSED_RETRY_S = 1.0
APPEND_S_MAX = 5.0
RECENT_MAX = 20_000
RECENT_BYTES_MAX = 16 * 1024 * 1024
"""Entries kept as they were sent: a broker that syncs every ten seconds loses no more than that."""
PAD_BATCH = 256
"""Appends in flight while lost places are filled."""


def new_id() -> str:
    """An id that nobody else draws."""
    return uuid.uuid4().hex


class SteppedDown(Exception):
    """Another writer has opened the same or a higher term: this process must end."""


class JournalConflict(Exception):
    """An older writer's entry, or rubbish, stands where ours was to go: fold it and decide anew."""


class JournalCut(JournalConflict):
    """The broker has lost entries up to `known_seq` that cannot be put back: recover, and let their
    sequences not be given again."""

    def __init__(self, reason: str, known_seq: int) -> None:
        super().__init__(reason)
        self.known_seq = known_seq


class JournalLost(Exception):
    """No snapshot reaches the journal's beginning. Starting would forget work, so a person must
    decide (restore the stream, or begin with a new one)."""


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
        self._disconnects = 0
        self._recent: deque[tuple[int, bytes]] = deque()
        self._recent_bytes = 0

    async def commit(self, draft: Draft, now_ns: int) -> Committed:
        """Append one entry behind `last_seq` and return once it is known to be there.

        Raises SteppedDown, JournalConflict (JournalCut), Stopping.
        """
        entry_id = self._new_id()
        payload = encode_entry(
            term=self.term,
            writer=self._writer,
            entry_id=entry_id,
            now_ns=now_ns,
            cursors=draft.cursors,
            facts=draft.encoded,
            marks=draft.marks,
        )
        while True:
            try:
                await self._append(payload, self.last_seq)
            except WrongSequence:
                if not await self._is_there(entry_id):
                    continue
            break
        self.last_seq += 1
        self._remember(self.last_seq, payload)
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
            marks=draft.marks,
        )

    async def pad(self, up_to_seq: int, draft: Draft, now_ns: int) -> None:
        """Fill every place up to `up_to_seq` with entries that say nothing. Raises as `commit`."""
        while self.last_seq < up_to_seq:
            begin = self.last_seq
            count = min(PAD_BATCH, up_to_seq - begin)
            payloads = [
                encode_entry(
                    term=self.term, writer=self._writer, entry_id=self._new_id(),
                    now_ns=now_ns, cursors=draft.cursors, facts=(), marks=draft.marks,
                )
                for _ in range(count)
            ]  # fmt: skip
            appends = (
                self._bus.append(
                    self._subject, payload, expected_last_seq=seq, timeout_s=APPEND_S_MAX
                )
                for seq, payload in enumerate(payloads, begin)
            )
            results = await asyncio.gather(*appends, return_exceptions=True)
            failures = [result for result in results if isinstance(result, BaseException)]
            if not failures:
                self.last_seq += count
            else:
                await self._find_end(failures[0])
            for seq in range(begin, self.last_seq):
                self._remember(seq + 1, payloads[seq - begin])

    async def _find_end(self, failure: BaseException) -> None:
        """Some of our padding may be there."""
        if isinstance(failure, Outage | BusRefusal):
            await self._pause(failure)
        elif not isinstance(failure, WrongSequence):
            raise failure
        state = await until_answered(lambda: self._bus.stream_state(self._stream), self._stopping)
        if state.last_seq < self.last_seq:
            raise JournalCut(f"{self._stream} was cut to {state.last_seq}", self.last_seq)
        if state.last_seq > self.last_seq:
            entry = await self._entry_at(state.last_seq)
            if entry is None or entry.writer != self._writer:
                self._judge_rival(entry, state.last_seq)
            self.last_seq = state.last_seq
        self.trouble = None

    def go_on_behind(self, seq: int) -> None:
        """The journal was read up to there: what we wrote before may stand elsewhere, or not at
        all."""
        self.last_seq = seq
        self._recent.clear()
        self._recent_bytes = 0

    def _remember(self, seq: int, payload: bytes) -> None:
        self._recent.append((seq, payload))
        self._recent_bytes += len(payload)
        while len(self._recent) > RECENT_MAX or self._recent_bytes > RECENT_BYTES_MAX:
            self._recent_bytes -= len(self._recent.popleft()[1])

    async def _append(self, payload: bytes, after_seq: int) -> None:
        """Send the identical bytes until the broker says stored or WrongSequence."""
        while True:
            while after_seq and self._disconnects != self._bus.counters.get("disconnects", 0):
                await self._recognise(after_seq)
            try:
                await self._bus.append(
                    self._subject, payload, expected_last_seq=after_seq, timeout_s=APPEND_S_MAX
                )
            except (Outage, BusRefusal) as error:
                await self._pause(error)
                continue
            self.trouble = None
            return

    async def _recognise(self, seq: int) -> None:
        """Is the entry that we append behind still the one that we know? A broker that came back
        without its newest entries may have taken as many others meanwhile: the sequence alone would
        let us in behind them. Of an entry that we have no copy of, we know that no successor wrote
        it. Raises WrongSequence where it is lost: nothing is recognised then, for others may write
        there before we put it back."""
        disconnects = self._bus.counters.get("disconnects", 0)
        state = await until_answered(
            lambda: self._bus.stream_state(self._stream, at_least=seq), self._stopping
        )
        if state.last_seq < seq:
            raise WrongSequence(f"{self._stream} ends at {state.last_seq}, not at {seq}")
        ours = dict(self._recent).get(seq)
        there = await until_answered(lambda: self._bus.read(self._stream, seq), self._stopping)
        if there is not None and there.payload != ours:
            entry = self._decode(there)
            known = entry is None or entry.term < self.term or entry.writer == self._writer
            if ours is not None or not known:
                self._judge_rival(entry, seq)
        self._disconnects = disconnects

    async def _pause(self, error: Outage | BusRefusal) -> None:
        refused = isinstance(error, BusRefusal)
        self.counters["append_refusals" if refused else "append_retries"] += 1
        if self.trouble is None:
            log.error("%s takes no entry, repeating it: %s", self._stream, error)
        self.trouble = f"{self._stream} takes no entry: {error}"
        if self._stopping():
            raise Stopping(self.trouble) from error
        await asyncio.sleep(REFUSED_RETRY_S if refused else RETRY_S)

    async def _is_there(self, entry_id: str) -> bool:
        """True: the entry at the expected place is ours. False: lost entries were put back, append
        again. Else raises what it means."""
        place = self.last_seq + 1
        message = await until_answered(lambda: self._bus.read(self._stream, place), self._stopping)
        self.trouble = None
        if message is None:
            state = await until_answered(
                lambda: self._bus.stream_state(self._stream, at_least=self.last_seq),
                self._stopping,
            )
            if state.first_seq > place:
                raise JournalConflict(f"{self._stream} {place} is purged already")
            if state.last_seq < place:
                await self._put_back(state.last_seq)
            else:  # a replica that lags behind has answered: ask again
                await asyncio.sleep(RETRY_S)
            return False
        entry = self._decode(message)
        if entry is not None and entry.entry_id == entry_id:
            self.counters["acks_lost"] += 1
            return True
        self._judge_rival(entry, place)
        raise JournalConflict(f"somebody wrote {self._stream} {place}")

    def _judge_rival(self, entry: Committed | None, place: int) -> None:
        """Raises what an entry that is not ours means to us."""
        if entry is None:
            self.counters["entries_skipped"] += 1
            raise JournalConflict(f"{self._stream} {place} is undecodable")
        if entry.term >= self.term:
            raise SteppedDown(
                f"{entry.writer} has term {entry.term} at {self._stream} {place},"
                f" ours is {self.term}"
            )
        self.counters["rivals"] += 1
        raise JournalConflict(f"{entry.writer} of term {entry.term} wrote {self._stream} {place}")

    async def _put_back(self, end: int) -> None:
        """The stream ends before what was acknowledged: append the very same entries again."""
        if end == self.last_seq:  # whatever stood behind it is gone again
            await asyncio.sleep(RETRY_S)
            return
        self.counters["cuts"] += 1
        log.critical("%s ends at %d, but %d was acknowledged", self._stream, end, self.last_seq)
        kept = dict(self._recent)
        if end:
            last = await until_answered(lambda: self._bus.read(self._stream, end), self._stopping)
            if last is None or last.payload != kept.get(end):
                entry = None if last is None else self._decode(last)
                if entry is not None and entry.term > self.term:
                    self._judge_rival(entry, end)
                raise JournalCut(f"{self._stream} was cut to {end}", self.last_seq)
        if end + 1 not in kept:
            raise JournalCut(f"{self._stream} was cut to {end}", self.last_seq)
        for seq in range(end + 1, self.last_seq + 1):
            try:
                await self._append(kept[seq], seq - 1)
            except WrongSequence:
                raise JournalConflict(f"{self._stream} is not cut to {seq - 1}") from None
            self.counters["entries_put_back"] += 1

    async def _entry_at(self, seq: int) -> Committed | None:
        message = await until_answered(lambda: self._bus.read(self._stream, seq), self._stopping)
        return None if message is None else self._decode(message)
