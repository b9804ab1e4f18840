"""Which id does a new job get?

ULIDs of this process, each greater than the one before, also within one millisecond and when the
clock steps back. It does not know what they name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from penstock_contracts.ids import ulid

_RANDOM_BYTES = 10
_RANDOM_SPAN = 1 << 80


class Ulids:
    """A series of ULIDs: within one millisecond the random part counts up (ULID specification)."""

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._last = (0, 0)

    def next(self) -> str:
        time_ms, randomness = self._now_ns() // 1_000_000, int.from_bytes(os.urandom(_RANDOM_BYTES))
        if time_ms <= self._last[0]:
            time_ms, randomness = self._last[0], self._last[1] + 1
            if randomness == _RANDOM_SPAN:
                time_ms, randomness = time_ms + 1, 0
        self._last = (time_ms, randomness)
        return ulid(time_ms, randomness)


new_job_id = Ulids().next
