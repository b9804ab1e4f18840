"""How does a simulated agent hear that output has grown?

A moment later and several files at once, as inotify tells it. It does not know who writes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from penstock_node_agent.telling.spool_watch import PAUSE_S, OnGrown
from tests.simulation.loop import PROCESS

if TYPE_CHECKING:
    from tests.simulation.host import SimulatedHost


class SimulatedWatch:
    """Tells which spool files have grown, a moment later and several at once, as inotify does."""

    def __init__(self, host: SimulatedHost, directory: str, on_grown: OnGrown) -> None:
        self._disk, self._directory, self._on_grown = host.disk, directory, on_grown
        self._names: dict[str, None] = {}
        self._timer: Any = None
        self._loop = asyncio.get_running_loop()
        self._context = host.kernel.context
        process = PROCESS.get()
        if process is not None:
            self._context = process.context.copy()
        host.disk.watch(directory, self._note)

    def close(self) -> None:
        self._disk.watch(self._directory, None)
        if self._timer is not None:
            self._timer.cancel()

    def _note(self, name: str) -> None:
        self._names[name] = None
        if self._timer is None:
            self._timer = self._loop.call_later(PAUSE_S, self._flush, context=self._context)

    def _flush(self) -> None:
        self._timer = None
        names, self._names = list(self._names), {}
        self._on_grown(names)
