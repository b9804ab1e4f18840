"""Is there room enough on this node's disk for new work?

A full disk ends nothing that runs, but nothing may begin that could not be written down: the node
says so before it is full, and takes work again once there is twice the room. It does not know who
fills the disk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from penstock_node_agent.core.events import Closed
from penstock_node_agent.reaper.disk import Disk
from penstock_runtime.clock import Clock

DISK_FULL = "disk_full"
MIB = 1 << 20

log = logging.getLogger(__name__)


class DiskWatch:
    """`look` is called now and then. `bytes_min`: with less room nothing new is taken."""

    def __init__(
        self,
        disk: Disk,
        directory: str,
        clock: Clock,
        on_event: Callable[[Closed], None],
        bytes_min: int,
    ) -> None:
        self._disk, self._directory, self._clock = disk, directory, clock
        self._on_event, self._bytes_min = on_event, bytes_min
        self._full = False

    def look(self) -> None:
        try:
            free_bytes = self._disk.free_bytes(self._directory)
        except OSError as error:
            log.error("the disk cannot be asked: %s", error)
            return
        enough = self._bytes_min * (2 if self._full else 1)
        if self._full == (free_bytes < enough):
            return
        self._full = not self._full
        reason = ""
        if self._full:
            reason = (
                f"the disk is full: {free_bytes // MIB} MiB are left, "
                f"new work needs {self._bytes_min // MIB}"
            )
        log.warning(reason or "there is room on the disk again")
        self._on_event(Closed(at_ns=self._clock.boottime_ns(), code=DISK_FULL, reason=reason))
