"""Why were free devices of a model idle at an instant?

Jobs that wait say why (nothing free is as they ask for it, or a quota or budget holds them back),
and which models they would take. From when each set of reasons stood, free time is divided among
the reasons. It does not know which jobs, nor how many would have fitted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from penstock_contracts.journal import DemandNoted

NO_DEMAND, FRAGMENTED, QUOTA = 0, 1, 2
REASONS = 3
_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(dict[str, int]).decode

_Kinds = frozenset[tuple[str, str]]
"""(what is waited for, the model that is wanted; empty = any)"""


class DemandChange(NamedTuple):
    """What waits from `at_ms` on: `blocked` is JSON, as in `DemandNoted`."""

    seq: int
    at_ms: int
    blocked: str


def read_demand(seq: int, at_ms: int, fact: DemandNoted) -> DemandChange:
    return DemandChange(seq, at_ms, _encode(fact.blocked).decode())


class Demand:
    """All that is known of demand; before the first change there was none."""

    def __init__(self, changes: Iterable[DemandChange] = ()) -> None:
        known = list(changes)
        self._seqs = [change.seq for change in known]
        self._instants = [change.at_ms for change in known]
        self._kinds = [_kinds(change) for change in known]
        self._by_model: dict[str, Reasons] = {}

    @property
    def upto_seq(self) -> int:
        return self._seqs[-1] if self._seqs else 0

    def changed_before(self, at_ms: int, after_seq: int) -> bool:
        """Whether what was said behind `after_seq` tells of time before `at_ms`."""
        first = bisect_right(self._seqs, after_seq)
        return first < len(self._instants) and self._instants[first] < at_ms

    def of(self, model: str) -> Reasons:
        """Why devices of this model were idle; empty = it is not known."""
        found = self._by_model.get(model)
        if found is None:
            reasons = [_reason(kinds, model) for kinds in self._kinds]
            found = self._by_model[model] = Reasons(self._instants, reasons)
        return found


class Reasons:
    """Which reason stands from each instant on; before the first there was no demand."""

    def __init__(self, instants: list[int], reasons: list[int]) -> None:
        self._instants = instants
        self._reasons = reasons
        self._spent: list[tuple[int, ...]] = []
        """Up to each instant, how long each reason had stood."""
        standing, since_ms, spent = NO_DEMAND, 0, [0] * REASONS
        for at_ms, reason in zip(instants, reasons, strict=True):
            spent[standing] += at_ms - since_ms
            since_ms, standing = at_ms, reason
            self._spent.append(tuple(spent))

    def split(self, from_ms: int, to_ms: int) -> tuple[int, ...]:
        """For how many ms of `[from_ms, to_ms)` each reason stood."""
        first = bisect_right(self._instants, from_ms) - 1
        last = bisect_right(self._instants, to_ms) - 1
        if first == last:
            spent = [0] * REASONS
            spent[self._reasons[first] if first >= 0 else NO_DEMAND] = to_ms - from_ms
            return tuple(spent)
        return tuple(
            b - a
            for a, b in zip(self._up_to(first, from_ms), self._up_to(last, to_ms), strict=True)
        )

    def _up_to(self, index: int, at_ms: int) -> list[int]:
        if index < 0:
            return [at_ms, *[0] * (REASONS - 1)]
        spent = list(self._spent[index])
        spent[self._reasons[index]] += at_ms - self._instants[index]
        return spent


def _kinds(change: DemandChange) -> _Kinds:
    parts = (key.partition("/") for key, milli in _decode(change.blocked).items() if milli)
    return frozenset((kind, model) for kind, _, model in parts)


def _reason(kinds: _Kinds, model: str) -> int:
    """What could have run but for its shape comes before what was not allowed to. A device whose
    model is not known may be wanted by all."""
    own = {kind for kind, wanted in kinds if wanted in ("", model) or not model}
    if "fit" in own:
        return FRAGMENTED
    return QUOTA if own else NO_DEMAND
