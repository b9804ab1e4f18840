"""What runs, and what happens when it ends?

Keeps a set of children running: one that ends is started again, at once the first time, then with
growing delays. Stops groups of them in order, each within a time, and forgets none: a reaper that a
child left behind is ended too. It does not know what the children are.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable

from penstock_mesh.child import ChildSpec, RunningChild, describe_status
from penstock_mesh.process_identity import (
    ProcessIdentity,
    descendants,
    read_pid_file,
    wait_until_dead,
)

RESTART_DELAY_S_MIN = 0.1
RESTART_DELAY_S_MAX = 5.0
EXIT_STEPPED_DOWN = 75
"""EX_TEMPFAIL of sysexits: a service found another one doing its work. Not to be started at
once.
"""
STEADY_S = 10.0
"""A child that ran this long is healthy: its next end is a first one again."""
KILLED_S = 1.0
"""How long the kernel may take to end a process after SIGKILL."""


class _Kept:
    """One child that is kept running: its process if it has one, or the timer of its next start."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.running: RunningChild | None = None
        self.restart: asyncio.TimerHandle | None = None
        self.ends_in_a_row = 0
        self.ends = 0
        self.stopping = False
        self.gone = asyncio.Event()


class Supervisor:
    """Keeps children running. `report` gets a sentence for whoever watches; `on_change` is called
    whenever the set of processes has changed.
    """

    def __init__(
        self, report: Callable[[str], None], on_change: Callable[[], None] = lambda: None
    ) -> None:
        self._report = report
        self._on_change = on_change
        self._kept: dict[str, _Kept] = {}

    def start(self, spec: ChildSpec) -> None:
        """Starts a child and keeps it running from now on. Raises OSError when it cannot start."""
        kept = _Kept(spec)
        self._kept[spec.name] = kept
        self._run(kept)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._kept)

    def identities(self) -> dict[str, ProcessIdentity]:
        """The processes that run now."""
        return {
            name: kept.running.identity
            for name, kept in self._kept.items()
            if kept.running is not None
        }

    def ends(self, name: str) -> int:
        """How often this child has ended without being asked to."""
        return self._kept[name].ends

    async def stop(self, names: Iterable[str], *, within_s: float) -> None:
        """Asks them to end (SIGTERM); kills what has not after `within_s`. None is started
        again.
        """
        group = [self._kept[name] for name in names if name in self._kept]
        for kept in group:
            kept.stopping = True
            if kept.restart is not None:
                kept.restart.cancel()
            if kept.running is None:
                kept.gone.set()
            else:
                kept.running.send(signal.SIGTERM)
                kept.running.send(signal.SIGCONT)
        stragglers = await _wait_gone(group, within_s)
        for kept in stragglers:
            if kept.running is not None:
                self._report(f"{kept.spec.name} did not stop within {within_s:g} s; killing it")
                kept.running.send(signal.SIGKILL)
        await _wait_gone(stragglers, KILLED_S)

    async def stop_reapers(self, names: Iterable[str], *, within_s: float) -> None:
        """Ends what these children left behind."""
        reapers = [reaper for name in names for reaper in self._reaper(name)]
        await stop_reapers(reapers, within_s=within_s, report=self._report)

    def orphaned(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that do not run but whose reaper does."""
        return [name for name in names if self._kept[name].running is None and self._reaper(name)]

    def _reaper(self, name: str) -> list[ProcessIdentity]:
        path = self._kept[name].spec.reaper_pid_file
        reaper = None if path is None else read_pid_file(path)
        return [reaper] if reaper is not None and reaper.alive else []

    def _run(self, kept: _Kept) -> None:
        kept.restart = None
        kept.running = RunningChild(kept.spec, lambda status: self._ended(kept, status))
        self._on_change()

    def _ended(self, kept: _Kept, status: int) -> None:
        if kept.running is None:
            return
        loop = asyncio.get_running_loop()
        lasted_s = loop.time() - kept.running.started_s
        kept.running = None
        if kept.stopping:
            kept.gone.set()
        else:
            kept.ends += 1
            kept.ends_in_a_row = 1 if lasted_s >= STEADY_S else kept.ends_in_a_row + 1
            delay_s = restart_delay_s(kept.ends_in_a_row, status)
            self._schedule(kept, f"ended ({describe_status(status)})", delay_s)
        self._on_change()

    def _schedule(self, kept: _Kept, what_happened: str, delay_s: float) -> None:
        when = f"in {delay_s:g} s" if delay_s else "now"
        self._report(f"{kept.spec.name} {what_happened}; starting it again {when}")
        loop = asyncio.get_running_loop()
        kept.restart = loop.call_later(delay_s, self._run_again, kept)

    def _run_again(self, kept: _Kept) -> None:
        try:
            self._run(kept)
        except OSError as error:
            kept.ends_in_a_row += 1
            delay_s = restart_delay_s(kept.ends_in_a_row, 0)
            self._schedule(kept, f"could not be started ({error})", delay_s)


def restart_delay_s(ends_in_a_row: int, status: int) -> float:
    """How long to wait before a child is started again that has ended for the n-th time in a row,
    now with this wait status.
    """
    if status == EXIT_STEPPED_DOWN:
        return RESTART_DELAY_S_MAX
    if ends_in_a_row <= 1:
        return 0.0
    doublings = min(ends_in_a_row - 2, 16)
    return min(RESTART_DELAY_S_MIN * float(1 << doublings), RESTART_DELAY_S_MAX)


async def stop_reapers(
    reapers: Iterable[ProcessIdentity], *, within_s: float, report: Callable[[str], None]
) -> None:
    """Asks reapers to end their jobs and themselves (SIGTERM); after `within_s` they and everything
    below them are killed.
    """
    asked = list(reapers)
    for reaper in asked:
        reaper.send(signal.SIGTERM)
        reaper.send(signal.SIGCONT)
    late = await wait_until_dead(asked, within_s=within_s)
    killed = list(late)
    for reaper in late:
        report(f"the reaper with pid {reaper.pid} did not stop; killing it and its jobs")
        killed += descendants(reaper.pid)
    for process in killed:
        process.send(signal.SIGKILL)
    await wait_until_dead(killed, within_s=KILLED_S)


async def _wait_gone(group: list[_Kept], within_s: float) -> list[_Kept]:
    waiting = [asyncio.ensure_future(kept.gone.wait()) for kept in group if not kept.gone.is_set()]
    if waiting:
        _, late = await asyncio.wait(waiting, timeout=within_s)
        for task in late:
            task.cancel()
    return [kept for kept in group if not kept.gone.is_set()]
