"""When is a finished attempt gone, and what is told of its end?

An end waits until nothing of the attempt is left, for a while; what a reaper that died has left is
cleared first of all. It does not know why anything ended.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from penstock_node_agent.reaper.attempts import SECOND_NS, Attempt, End
from penstock_node_agent.reaper.containers import Containers
from penstock_node_agent.reaper.disk import Disk
from penstock_node_agent.reaper.leftovers import Dying, kill_leftovers, marked_keys
from penstock_node_agent.reaper.processes import Processes
from penstock_node_agent.reaper.records import Records

CLEARING_NS_MAX = 5 * SECOND_NS
"""An attempt whose leftovers survive SIGKILL this long is told as ended, and as gone when it is."""


class Clearing:
    """`waiting`: attempts that have ended and are not gone. `mains`: the main processes that run,
    by pid."""

    def __init__(
        self,
        directory: str,
        *,
        records: Records,
        mains: Mapping[int, Attempt],
        disk: Disk,
        processes: Processes,
        containers: Containers,
        boottime_ns: Callable[[], int],
    ) -> None:
        self._directory, self._records, self._mains = directory, records, mains
        self._disk, self._processes, self._boottime_ns = disk, processes, boottime_ns
        self._containers = containers
        self.waiting: dict[str, Attempt] = {}
        self._dying: dict[int, Dying] = {}
        self._swept = False

    @property
    def urgent(self) -> bool:
        """Whether an end is still to be told, or what an earlier reaper had is still there."""
        return not self._swept or self.untold

    @property
    def untold(self) -> bool:
        """Whether an end is still to be told, and not because of a container."""
        return any(one.ended is None and not one.held for one in self.waiting.values())

    @property
    def taken_over(self) -> bool:
        """Whether nothing has to be told any more of what a reaper that died has left; podman may
        take its time."""
        left = (one for one in self.waiting.values() if one.old and not one.held)
        return self._swept and all(one.ended is not None for one in left)

    def take_over(self, adopted: Collection[str]) -> None:
        """What the log does not say ended is lost: kill what is left of it, then say so. So is what
        bears our mark and stands in no log: a reaper has run here before, and its log is gone.
        `adopted`: keys of what is not."""
        attempts = self._records.attempts
        for attempt in attempts.values():
            if not attempt.gone and attempt.key not in adopted:
                self._give_up(attempt)
        if not self._records.same_boot:
            for attempt in self.waiting.values():
                self.tell_end(attempt, self._boottime_ns())
            self.waiting.clear()
        for key in marked_keys(self._processes, self._directory):
            if key not in attempts:
                stray = attempts[key] = Attempt(key, self._boottime_ns(), "", "")
                self._records.add(stray.order_line())
                self._give_up(stray)
        self.turn()

    def begin(self, attempt: Attempt, end: End) -> None:
        """Its main process has ended."""
        attempt.end, attempt.clear_ns = end, end.at_ns
        self.waiting[attempt.key] = attempt

    def turn(self) -> None:
        """Finished attempts are gone when nothing of them is left."""
        if not self._swept:
            self._swept = not self._processes.sweep()
        if not self.waiting:
            return
        now = self._boottime_ns()
        left = kill_leftovers(
            self._processes,
            self._directory,
            self._mains,
            self.waiting,
            self._containers.owns,
            self._dying,
        )
        for attempt in list(self.waiting.values()):
            unswept = attempt.held or (attempt.old and not self._swept)
            if not (self._processes.left(attempt.slot) or attempt.key in left or unswept):
                del self.waiting[attempt.key]
                self.tell_end(attempt, now)
            elif attempt.held:
                continue  # it may yet begin: nothing but its removal proves that it will not
            elif attempt.ended is None and now - attempt.clear_ns > CLEARING_NS_MAX:
                self.tell_end(attempt, None)

    def tell_end(self, attempt: Attempt, gone_ns: int | None) -> None:
        """`gone_ns` None: something of it is left."""
        attempt.gone = gone_ns is not None
        if attempt.ended is not None:
            attempt.clear_ns = gone_ns or attempt.clear_ns
            self._records.add(["gone", attempt.key, attempt.clear_ns], durable=True)
        elif attempt.end is not None:
            sizes = self._disk.size(attempt.out), self._disk.size(attempt.err)
            attempt.ended = ["ended", attempt.key, *attempt.end, *sizes, gone_ns]
            self._records.add(attempt.ended, durable=True)

    def _give_up(self, attempt: Attempt) -> None:
        attempt.old, attempt.clear_ns = True, self._boottime_ns()
        if attempt.ended is None:
            attempt.end = End(attempt.began_ns, None, None, "lost", "the reaper died")
        self.waiting[attempt.key] = attempt
