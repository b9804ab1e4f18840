"""How does a service find its state again?

Newest usable snapshot, then every journal entry behind it. It does not know what the core means
by its facts, nor who holds the leadership.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from penstock_bus.port import Bus, StoredMessage
from penstock_runtime.entries import Committed
from penstock_runtime.journal import JournalLost
from penstock_runtime.snapshots import SnapshotStore
from penstock_runtime.transition import Core

log = logging.getLogger(__name__)


class Recovered(msgspec.Struct):
    """The state as of journal sequence `seq`, and the snapshot that it was built on (0 = none)."""

    core: Core
    seq: int = 0
    term: int = 0
    now_ns: int = 0
    cursors: dict[str, int] = {}
    snapshot_seq: int = 0
    snapshot_cursors: dict[str, int] = {}
    entries_skipped: int = 0


async def recover(
    bus: Bus,
    *,
    stream: str,
    snapshots: SnapshotStore,
    new_core: Callable[[], Core],
    decode: Callable[[StoredMessage], Committed | None],
) -> Recovered:
    """Raises Outage, and JournalLost when snapshot and journal do not join."""
    state = await bus.stream_state(stream)
    found = await _restore(snapshots, new_core)
    if found.seq > state.last_seq:
        raise JournalLost(
            f"{stream} ends at {state.last_seq}, but a snapshot stands for {found.seq}"
        )
    if found.seq + 1 < state.first_seq:
        raise JournalLost(
            f"{stream} begins at {state.first_seq}, and no usable snapshot reaches it"
            f" (the best one stands for {found.seq})"
        )
    if found.seq == state.last_seq:
        return found
    reader = await bus.reader(stream, after_seq=found.seq)
    try:
        while found.seq < state.last_seq:
            for message in await reader.next_batch():
                _fold(found, message, decode)
    finally:
        await reader.close()
    return found


async def _restore(snapshots: SnapshotStore, new_core: Callable[[], Core]) -> Recovered:
    async for header, data in snapshots.newest_first():
        core = new_core()
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
            snapshot_seq=header.seq,
            snapshot_cursors=dict(header.cursors),
        )
    return Recovered(core=new_core())


def _fold(
    found: Recovered, message: StoredMessage, decode: Callable[[StoredMessage], Committed | None]
) -> None:
    entry = decode(message)
    found.seq = message.seq
    if entry is None:
        found.entries_skipped += 1
        return
    found.now_ns = max(found.now_ns, entry.now_ns)  # an older writer's clock may be behind
    for fact in entry.facts:
        found.core.apply(fact, entry.seq, found.now_ns)
    found.term = max(found.term, entry.term)
    found.cursors.update(entry.cursors)
