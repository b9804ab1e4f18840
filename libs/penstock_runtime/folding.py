"""How is one journal entry folded, and what when another was damaged?

An entry that nobody can read is skipped. From there on the state lacks facts: what follows is
folded as far as it fits, and the inputs since then are to be read again. It does not know where
entries come from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from penstock_bus.port import StoredMessage
from penstock_contracts.errors import InvariantError
from penstock_runtime.entries import Committed
from penstock_runtime.transition import Core

log = logging.getLogger(__name__)


class Recovered(msgspec.Struct):
    """The state as of journal sequence `seq`, and the snapshot that it was built on (0 = none).

    `stream_seq` is where the journal itself ends: before `seq` when the broker has lost entries
    that a snapshot holds. `entries_skipped`: entries that were damaged; from the first of them on
    `cursors` and `marks` stay, so that their inputs are read again."""

    core: Core
    seq: int = 0
    term: int = 0
    now_ns: int = 0
    cursors: dict[str, int] = {}
    marks: dict[str, int] = {}
    snapshot_seq: int = 0
    snapshot_cursors: dict[str, int] = {}
    entries_skipped: int = 0
    stream_seq: int = 0
    facts_left_out: int = 0


def fold(
    found: Recovered, message: StoredMessage, decode: Callable[[StoredMessage], Committed | None]
) -> None:
    """Fold the next entry."""
    entry = decode(message)
    if entry is None:
        skip(found, message.seq)
        return
    found.seq = message.seq
    found.now_ns = max(found.now_ns, entry.now_ns)  # an older writer's clock may be behind
    for fact in entry.facts:
        if found.entries_skipped:
            found.facts_left_out += not found.core.apply_after_gap(fact, entry.seq, found.now_ns)
            continue
        try:
            found.core.apply(fact, entry.seq, found.now_ns)
        except (InvariantError, LookupError):
            log.exception("entry %d does not fit those before it", entry.seq)
            found.entries_skipped += 1
            found.facts_left_out += 1
    found.term = max(found.term, entry.term)
    if not found.entries_skipped:
        found.cursors.update(entry.cursors)
        found.marks.update(entry.marks)


def skip(found: Recovered, up_to_seq: int) -> None:
    """The entries up to this one cannot be read."""
    log.critical("journal entries %d to %d are damaged: skipped", found.seq + 1, up_to_seq)
    found.entries_skipped += up_to_seq - found.seq
    found.seq = up_to_seq
