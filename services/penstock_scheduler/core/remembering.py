"""Which ids of ended jobs are forgotten, and when?

Each is remembered for seven days, so that a request that comes again is the same job; when there
are very many, the oldest go earlier, and a request with an id from before that is refused. It does
not know who asks.
"""

from __future__ import annotations

from itertools import islice

from penstock_contracts.ids import JOB_ID_REMEMBERED_MS, ulid_time_ms
from penstock_scheduler.core.fold import State

FORGET_EVERY_MS = 3_600_000
FORGET_STEP_MS = 2 * FORGET_EVERY_MS
REMEMBERED_MAX = 1_000_000
"""About 240 MiB of memory and 66 MB of each snapshot."""
REMEMBERED_REFUSED = 4_000_000
"""Nothing is accepted any more when so many are too young to be forgotten."""
YOUNG_MS = 900_000
"""Not forgotten, however many there are: a requester may still repeat it, and ids may lie ahead."""
FORGOTTEN_SHARE = 10
"""The oldest tenth goes at once, so that it is done seldom."""
SAMPLES = 1_000


def forget_before_ms(state: State, now_ns: int) -> int | None:
    """The instant before which ids are to be forgotten now; None when there is nothing to do."""
    now_ms = now_ns // 1_000_000
    before_ms = now_ms - JOB_ID_REMEMBERED_MS
    if state.forgotten_before_ms:  # a clock that was set ahead must not forget, and refuse, all ids
        before_ms = min(before_ms, state.forgotten_before_ms + FORGET_STEP_MS)
    if len(state.remembered) > REMEMBERED_MAX:
        crowded_ms = min(_oldest_share_ms(state), now_ms - YOUNG_MS)
        return crowded_ms if crowded_ms > state.forgotten_before_ms else None
    if now_ms - state.forgot_ms > FORGET_EVERY_MS < before_ms - state.forgotten_before_ms:
        return before_ms
    return None


def _oldest_share_ms(state: State) -> int:
    """About a tenth of the ids are older: told from a sample, which costs little however many."""
    step = max(1, len(state.remembered) // SAMPLES)
    sample = sorted(islice(state.remembered, 0, None, step))
    return ulid_time_ms(sample[-(-len(sample) // FORGOTTEN_SHARE)])
