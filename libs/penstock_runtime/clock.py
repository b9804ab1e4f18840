"""What time is it?

The one port through which a shell reads time, the real clock and a virtual one for tests and
simulation. Cores never see it: they get instants as arguments. It does not sleep.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now_ns(self) -> int:
        """Unix time. May jump, also backwards: only for what is shown or recorded."""
        ...

    def boottime_ns(self) -> int:
        """CLOCK_BOOTTIME: never goes back, counts suspension, starts anew with each boot."""
        ...

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC: never goes back; for measuring how long something took."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ns(self) -> int:
        return time.time_ns()

    def boottime_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


class VirtualClock:
    """Stands still until it is told to advance."""

    def __init__(self, now_ns: int = 1_700_000_000_000_000_000, boottime_ns: int = 0) -> None:
        self._now_ns = now_ns
        self._boottime_ns = boottime_ns

    def now_ns(self) -> int:
        return self._now_ns

    def boottime_ns(self) -> int:
        return self._boottime_ns

    def monotonic_ns(self) -> int:
        return self._boottime_ns

    def advance(self, by_ns: int) -> None:
        """Let time pass on all clocks alike."""
        self._now_ns += by_ns
        self._boottime_ns += by_ns

    def step_wall(self, by_ns: int) -> None:
        """Set the wall clock forwards or back, as an operator or NTP may."""
        self._now_ns += by_ns
