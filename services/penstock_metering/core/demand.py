"""Why were free devices idle at an instant?

Jobs that wait say why: nothing free is as they ask for it, or a quota or budget holds them back.
From when each set of reasons stood, free time is divided among the reasons. It does not know which
jobs, nor how many would have fitted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from penstock_contracts.journal import DemandNoted

NO_DEMAND, FRAGMENTED, QUOTA = 0, 1, 2
REASONS = 3


class DemandChange(NamedTuple):
    """milli-GPU that wait for a place as they want it, for quota, and for budget, from `at_ms`."""

    seq: int
    at_ms: int
    fit: int
    quota: int
    budget: int

    @property
    def reason(self) -> int:
        """What could have run but for its shape comes before what was not allowed to."""
        if self.fit:
            return FRAGMENTED
        return QUOTA if self.quota or self.budget else NO_DEMAND


def read_demand(seq: int, at_ms: int, fact: DemandNoted) -> DemandChange:
    blocked = fact.blocked
    return DemandChange(
        seq, at_ms, blocked.get("fit", 0), blocked.get("quota", 0), blocked.get("budget", 0)
    )


class Demand:
    """All that is known of demand; before the first change there was none."""

    def __init__(self, changes: Iterable[DemandChange] = ()) -> None:
        self._instants: list[int] = []
        self._reasons: list[int] = []
        self._spent: list[tuple[int, ...]] = []
        """Up to each instant, how long each reason had stood."""
        self._seqs: list[int] = []
        reason, at_ms, spent = NO_DEMAND, 0, [0] * REASONS
        for change in changes:
            self._seqs.append(change.seq)
            spent[reason] += change.at_ms - at_ms
            at_ms, reason = change.at_ms, change.reason
            self._instants.append(at_ms)
            self._reasons.append(reason)
            self._spent.append(tuple(spent))

    @property
    def upto_seq(self) -> int:
        return self._seqs[-1] if self._seqs else 0

    def changed_before(self, at_ms: int, after_seq: int) -> bool:
        """Whether what was said behind `after_seq` tells of time before `at_ms`."""
        first = bisect_right(self._seqs, after_seq)
        return first < len(self._instants) and self._instants[first] < at_ms

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
