"""How does a service find its state again, and how does a standby have it ready?

Newest usable snapshot, then every journal entry behind it, in order and without a gap; a standby
goes on folding entries as they are committed. It does not know what the core means by its facts,
nor who holds the leadership.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from penstock_bus.port import Bus, BusRefusal, Outage, Reader, StoredMessage, StreamRewound
from penstock_runtime.entries import Committed
from penstock_runtime.folding import Recovered, fold, skip
from penstock_runtime.journal import JournalLost
from penstock_runtime.snapshots import SnapshotStore
from penstock_runtime.transition import Core

log = logging.getLogger(__name__)

DAMAGED_MAX = 1_000
"""Entries at the end that the broker cannot read any more."""
RETRY_S = 0.5
"""A standby that cannot follow looks again."""


class _Gap(Exception):
    """The entries behind our place were purged before we had read them."""


class Replica:
    """One state folded from a journal. Once handed out by `catch_up` and changed by its new owner,
    it must not be asked again."""

    def __init__(
        self,
        bus: Bus,
        *,
        stream: str,
        snapshots: SnapshotStore,
        new_core: Callable[[], Core],
        decode: Callable[[StoredMessage], Committed | None],
    ) -> None:
        self._bus = bus
        self._stream = stream
        self._snapshots = snapshots
        self._new_core = new_core
        self._decode = decode
        self._found: Recovered | None = None
        self._reader: Reader | None = None

    @property
    def seq(self) -> int:
        """How far the journal is folded."""
        return 0 if self._found is None else self._found.seq

    async def catch_up(self) -> Recovered:
        """The state with everything the journal holds now. Raises Outage, and JournalLost when
        snapshot and journal do not join."""
        while True:
            state = await self._bus.stream_state(self._stream, at_least=self.seq)
            try:
                found = self._found or await self._begin(state.first_seq, state.last_seq)
                end = await self._last_readable(found.seq, state.last_seq)
                while found.seq < end:
                    await self._fold_batch(found)
                if found.seq < state.last_seq:
                    skip(found, state.last_seq)
            except (StreamRewound, _Gap) as error:
                log.warning("folding %s again from a snapshot: %s", self._stream, error)
                await self.close()
                continue
            except (Outage, JournalLost):
                await self.close()
                raise
            found.stream_seq = state.last_seq
            if found.entries_skipped:  # what is derived may have been left half changed
                found.core.restore(found.core.snapshot())
            return found

    async def _last_readable(self, seq: int, last_seq: int) -> int:
        """Whatever lies behind it was damaged, and the broker gives it to nobody."""
        end = last_seq
        while end > seq and last_seq - end < DAMAGED_MAX:
            if await self._bus.read(self._stream, end) is not None:
                return end
            end -= 1
        return end

    async def follow(self) -> None:
        """Fold entries as they are committed, until cancelled; `catch_up` goes on from there."""
        while True:
            try:
                found = await self.catch_up()
                while self._reader is not None:
                    await self._fold_batch(found)
            except (StreamRewound, _Gap) as error:
                log.warning("following %s again from a snapshot: %s", self._stream, error)
            except (Outage, BusRefusal, JournalLost) as error:
                log.warning("%s cannot be followed now: %s", self._stream, error)
            await self.close()
            await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        """Stop reading and forget the state."""
        self._found = None
        await self.stop_reading()

    async def stop_reading(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()

    async def _begin(self, first_seq: int, last_seq: int) -> Recovered:
        found = await self._restore()
        if found.seq + 1 < first_seq:
            raise JournalLost(
                f"{self._stream} begins at {first_seq}, and no usable snapshot reaches it"
                f" (the best one stands for {found.seq})"
            )
        if found.seq <= last_seq:
            self._reader = await self._bus.reader(self._stream, after_seq=found.seq)
        self._found = found
        return found

    async def _restore(self) -> Recovered:
        async for header, data in self._snapshots.newest_first():
            core = self._new_core()
            try:
                core.restore(data)
            except Exception:  # whatever a core makes of bytes it cannot read: the next one may do
                log.exception("unusable snapshot at %d", header.seq)
                continue
            return Recovered(
                core=core,
                seq=header.seq,
                term=header.term,
                now_ns=header.now_ns,
                cursors=dict(header.cursors),
                marks=dict(header.marks),
                snapshot_seq=header.seq,
                snapshot_cursors=dict(header.cursors),
            )
        return Recovered(core=self._new_core())

    async def _fold_batch(self, found: Recovered) -> None:
        if self._reader is None:
            raise _Gap(f"nothing is read behind {found.seq}")
        for message in await self._reader.next_batch():
            if message.seq != found.seq + 1:
                state = await self._bus.stream_state(self._stream)
                if state.first_seq > found.seq + 1 or message.seq <= found.seq:
                    raise _Gap(f"{message.seq} follows {found.seq}")
                skip(found, message.seq - 1)
            fold(found, message, self._decode)
