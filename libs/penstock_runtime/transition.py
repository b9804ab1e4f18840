"""How do events become journal entries?

Runs a pure core over what has arrived and packs the facts into entries of bounded size. All of it
is synchronous and in memory: nothing here is committed yet. It does not know the bus.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from penstock_contracts.journal import ENTRY_BYTES_MAX
from penstock_runtime.entries import Committed, encode_json

ENTRY_OVERHEAD_BYTES = 4096
"""Room for an entry's own fields (the longest is the map of cursors)."""
FACTS_BYTES_MAX = ENTRY_BYTES_MAX - ENTRY_OVERHEAD_BYTES

OnDone = Callable[[Committed | None], None]


class Core(Protocol):
    """The pure core behind a journaled service.

    It reads no clock and draws no randomness. An event may be decided again on a state that holds
    the first of its facts already (a decision larger than an entry, cut by a crash), so whatever
    `decide` returns must be safe to ask for twice.
    """

    def decide(self, event: Any, now_ns: int, next_seq: int) -> Sequence[Any]:
        """The facts that follow; changes nothing. They will stand at `next_seq` or behind it."""
        ...

    def apply(self, fact: Any, seq: int, now_ns: int) -> None:
        """The only mutation: the same live, replayed and on a standby. `seq`: the entry's place."""
        ...

    def apply_after_gap(self, fact: Any, seq: int, now_ns: int) -> bool:
        """`apply` behind an entry that was damaged: what ends something is forced, what does not
        fit is left out (False)."""
        ...

    def settle(self, now_ns: int, next_seq: int) -> Sequence[Any]:
        """What follows from the state once all gathered events are applied; changes nothing. Asked
        again, with its facts applied, until it returns nothing."""
        ...

    def snapshot(self) -> bytes: ...

    def restore(self, data: bytes) -> None:
        """Replace the state by that of a snapshot; raises when the bytes are not one."""
        ...


class Offer(msgspec.Struct, frozen=True):
    """An event without a cursor, and whom to tell when what follows from it is committed."""

    event: Any
    on_done: OnDone | None = None


class Draft(msgspec.Struct):
    """One entry to be: its facts as objects and as bytes, and how far it consumes each input."""

    cursors: dict[str, int]
    facts: list[Any] = []
    encoded: list[bytes] = []
    offers: list[Offer] = []
    marks: dict[str, int] = {}


class Transition:
    """Decides events one after the other, each on the state that the earlier ones left."""

    def __init__(
        self,
        core: Core,
        *,
        now_ns: int,
        next_seq: int,
        cursors: Mapping[str, int],
        marks: Mapping[str, int],
    ) -> None:
        self.now_ns = now_ns
        self.drafts: list[Draft] = []
        self.offers_without_facts: list[Offer] = []
        self.cursors = dict(cursors)
        self.marks = dict(marks)
        self.events = 0
        self._core = core
        self._next_seq = next_seq
        self._open = Draft(self.cursors)
        self._open_bytes = 0

    @property
    def full(self) -> bool:
        """An entry is complete: commit before taking more."""
        return bool(self.drafts)

    def take(self, event: Any) -> bool:
        """Decide one event and apply its facts; False when there were none."""
        self.events += 1
        facts = self._core.decide(event, self.now_ns, self._next_seq)
        if facts:
            self._add(facts)
        return bool(facts)

    def take_offer(self, offer: Offer) -> None:
        """`take` an event without a cursor and remember whom to tell."""
        (self._open.offers if self.take(offer.event) else self.offers_without_facts).append(offer)

    def move_cursor(self, stream: str, seq: int, mark: int) -> None:
        """Everything of the message at `seq`, stored at `mark`, is decided: the entry that is open
        consumes it."""
        self.cursors[stream] = seq
        self.marks[stream] = mark

    def settle(self) -> bool:
        """Let the core draw its conclusions; False when an entry filled up before it was done."""
        drafts_max = len(self.drafts) + 1
        while len(self.drafts) < drafts_max:
            facts = self._core.settle(self.now_ns, self._next_seq)
            if not facts:
                return True
            self._add(facts)
        return False

    def close(self, *, even_if_empty: bool = False) -> None:
        """End the open entry."""
        if not (self._open.facts or even_if_empty):
            return
        self._open.cursors = dict(self.cursors)
        self._open.marks = dict(self.marks)
        self.drafts.append(self._open)
        self._open = Draft(self.cursors)
        self._open_bytes = 0
        self._next_seq += 1

    def _add(self, facts: Sequence[Any]) -> None:
        """Facts of one decision stay together when one entry can hold them."""
        encoded = [encode_json(fact) for fact in facts]
        total = sum(map(len, encoded)) + len(encoded)
        if self._open_bytes + total > FACTS_BYTES_MAX:
            self.close()
        for fact, data in zip(facts, encoded, strict=True):
            if self._open_bytes + len(data) + 1 > FACTS_BYTES_MAX:
                self.close()
            self._core.apply(fact, self._next_seq, self.now_ns)
            self._open.facts.append(fact)
            self._open.encoded.append(data)
            self._open_bytes += len(data) + 1
