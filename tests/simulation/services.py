"""How do the services of the control plane live in the world?

One slot per service instance: the real shell over the in-memory bus, started again after each death
as a supervisor would. It does not know which faults befall it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from penstock_bus.memory import MemoryBus, connect
from penstock_bus.port import Outage
from penstock_runtime.process import StopSignal
from tests.simulation.broker import ObservedBroker
from tests.simulation.clocks import HostClock
from tests.simulation.kernel import EXIT_CRASHED, Kernel, Process

RESTART_S = 1.0

Life = Callable[["Slot", MemoryBus, StopSignal], Awaitable[int]]
"""What the instance does with its bus until it is told to stop; returns its exit code."""


class Slot:
    """A place where one instance runs, again and again. `name` is its client's at the broker."""

    def __init__(
        self, kernel: Kernel, broker: ObservedBroker, name: str, clock: HostClock, life: Life
    ) -> None:
        self.kernel, self.broker, self.name, self.clock = kernel, broker, name, clock
        self.starts = 0
        self.process: Process | None = None
        self.bus: MemoryBus | None = None
        self.service: Any = None
        """The shell of the instance that runs."""
        self._skipped_before = 0
        self._life = life
        self._stop: StopSignal | None = None
        self._wanted = False

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    def start(self) -> None:
        self._wanted = True
        if not self.alive:
            self.starts += 1
            self.process = self.kernel.spawn(self.name, self._main, self._on_exit)

    def stop(self) -> None:
        """An orderly end, as SIGTERM asks for; a new instance follows."""
        if self._stop is not None and self.alive:
            self._stop.request("SIGTERM")

    def kill(self, *, steps: int = 0) -> None:
        """kill -9 before its n-th step from now."""
        if self.process is not None and self.process.alive:
            if steps:
                self.process.kill_after(steps)
            else:
                self.process.kill()

    def spare(self) -> None:
        """A kill that was still to come does not."""
        if self.process is not None:
            self.process.spare()

    @property
    def is_active(self) -> bool:
        """Whether the instance believes to lead."""
        return getattr(self._shell(), "phase", "") == "active"

    @property
    def entries_skipped(self) -> int:
        """By all instances so far, when they replayed their journal."""
        count = getattr(self._shell(), "count", None)
        now: int = 0 if count is None else count().get("entries_skipped", 0)
        return self._skipped_before + now

    def _shell(self) -> Any:
        return getattr(self.service, "service", self.service)

    async def _main(self) -> int:
        process = self.process
        try:
            bus = await connect(self.broker, name=self.name)
        except Outage:
            return EXIT_CRASHED  # as production: no broker, no service; started again
        self.bus = bus
        if process is not None:
            arrives = self.kernel.rng.random() < 0.5
            process.at_death(lambda: bus.kill(sent_arrives=arrives))
        self._stop = StopSignal()
        return await self._life(self, bus, self._stop)

    def _on_exit(self, process: Process) -> None:
        self._skipped_before, self.service = self.entries_skipped, None
        if process.error is not None:
            self.kernel.crashes.append(f"{self.name}: {process.error!r}")
        if self._wanted:
            self.kernel.loop.call_later(RESTART_S, self.start)
