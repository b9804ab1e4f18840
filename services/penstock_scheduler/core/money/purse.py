"""Who pays for a job that waits?

It does not know how much is left.
"""

from __future__ import annotations

import msgspec


class Purse(msgspec.Struct, frozen=True, cache_hash=True):
    """Jobs with the same purse are paid from the same budgets at the same prices, and none of them
    may begin with less than `start_ms` of running time paid for. `capped`: a budget must never be
    passed."""

    tenant: str
    project: str
    tier: str
    start_ms: int
    capped: bool
