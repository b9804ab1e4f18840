"""What time is it in a journal?

Instants of entries never go back, and should not stand still or leap either, when somebody sets the
clock: what waits for a time waits for time that passes. Small differences are followed, by going
slower where the clock is behind; a clock that is set far off while we watch is an alert and not
believed. It does not know what the instants are used for.
"""

from __future__ import annotations

import logging
from collections import Counter

from penstock_runtime.clock import Clock

log = logging.getLogger(__name__)

LEAP_NS_MAX = 10 * 60 * 10**9
"""A clock that differs from the time that passed by more than this was set, not corrected."""


class JournalTime:
    """`begin` first. Whoever restarts believes the clock again, as far as the journal lets him."""

    def __init__(self, clock: Clock) -> None:
        self.counters: Counter[str] = Counter()
        self._clock = clock
        self._now_ns = 0
        self._boot_ns = clock.boottime_ns()
        self._disagrees = False

    def begin(self, journal_ns: int) -> None:
        """The journal has come to this instant."""
        ours_ns = self.now_ns() if self._now_ns else self._clock.now_ns()
        self._now_ns = max(ours_ns, journal_ns)
        self._boot_ns = self._clock.boottime_ns()

    def now_ns(self) -> int:
        """Unix time for the next entry."""
        boot_ns = self._clock.boottime_ns()
        passed_ns = max(0, boot_ns - self._boot_ns)
        self._boot_ns = boot_ns
        expected_ns = self._now_ns + passed_ns
        ahead_ns = self._clock.now_ns() - expected_ns
        self._note(ahead_ns)
        if abs(ahead_ns) > LEAP_NS_MAX:
            self._now_ns = expected_ns
        elif ahead_ns >= 0:
            self._now_ns = expected_ns + ahead_ns
        else:
            self._now_ns += passed_ns - min(passed_ns // 2, -ahead_ns)
        return self._now_ns

    def _note(self, ahead_ns: int) -> None:
        disagrees = abs(ahead_ns) > LEAP_NS_MAX
        if disagrees and not self._disagrees:
            self.counters["clock_leaps"] += 1
            log.critical(
                "the clock is %d s from the journal's time, which goes on as time passes: set the"
                " clock right; if it is right, restart this service",
                ahead_ns // 10**9,
            )
        elif self._disagrees and not disagrees:
            log.warning("clock and journal agree again")
        self._disagrees = disagrees
