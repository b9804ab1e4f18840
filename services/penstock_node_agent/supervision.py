"""What does a supervisor want to hear from the agent?

The lines of systemd's sd_notify(3), where somebody listens: that it has started, that it stops and
how long that may take, and that its event loop still turns. It does not know what the agent does.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping

from penstock_runtime.process import StopSignal

MICROSECONDS = 1_000_000

log = logging.getLogger(__name__)


class Supervisor:
    """`environment`: this process's, in which systemd says where it listens."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        patience_us = environment.get("WATCHDOG_USEC", "")
        self._patience_s = int(patience_us) / MICROSECONDS if patience_us.isdecimal() else None

    async def accompany(self, stop: StopSignal, stop_s: float) -> None:
        """Say what happens until cancelled; after a request to stop it ends within `stop_s`."""
        if not self._address:
            return
        self._tell("READY=1")
        awake = asyncio.ensure_future(self._keep_awake())
        try:
            await stop.wait()
            self._tell(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(stop_s * MICROSECONDS)}")
            await awake
        finally:
            awake.cancel()

    async def _keep_awake(self) -> None:
        while self._patience_s is not None:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self._patience_s / 3)

    def _tell(self, text: str) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as line:
                line.sendto(text.encode(), self._address)
        except OSError as error:
            log.warning("the supervisor does not hear: %s", error)
