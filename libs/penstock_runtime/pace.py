"""How often does a service do what it does by the clock?

Intervals of housekeeping and of the lock, in seconds, with the values that production uses. A
simulation of hours chooses longer ones. It does not know what is done.
"""

from __future__ import annotations

import msgspec

TIDY_S = 2.0
REFRESH_S = 0.5
SILENCE_S = 1.5
"""A holder that misses three refreshes is taken for frozen or cut off."""
POLL_S = 0.2


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """`tidy_s`: cursors, snapshots and purges. `refresh_s`: the holder of a lock says that it
    lives. `silence_s`: a lock that has not moved for so long is free. `poll_s`: a waiter looks."""

    tidy_s: float = TIDY_S
    refresh_s: float = REFRESH_S
    silence_s: float = SILENCE_S
    poll_s: float = POLL_S
