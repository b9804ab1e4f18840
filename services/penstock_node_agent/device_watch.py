"""When are the devices looked at?

Every few seconds, soon after work has failed, and again at once while a look leaves doubt. What is
seen is judged in `core.devices`. It does not know what follows from it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from penstock_contracts.nodes import Device
from penstock_node_agent.core.devices import Looks
from penstock_node_agent.drivers.port import DeviceDriver, DriverSilent
from penstock_runtime.clock import Clock

AGAIN_S = 1.0
"""Between two looks at least, however much fails."""

log = logging.getLogger(__name__)


class DeviceWatch:
    """`first`: what the driver has found when the agent started."""

    def __init__(
        self, driver: DeviceDriver, clock: Clock, first: Sequence[Device], interval_s: float
    ) -> None:
        self._driver, self._clock, self._interval_s = driver, clock, interval_s
        self._looks = Looks(first, clock.boottime_ns())
        self._wanted = asyncio.Event()

    def look_soon(self) -> None:
        self._wanted.set()

    async def keep(self, tell: Callable[[tuple[Device, ...]], None]) -> None:
        """Look until cancelled, and tell what is to be said of the devices after each look."""
        while True:
            await asyncio.sleep(AGAIN_S)
            if not self._looks.in_doubt:
                with suppress(TimeoutError):  # wait_for loses a cancellation that meets the event
                    async with asyncio.timeout(self._interval_s):
                        await self._wanted.wait()
            self._wanted.clear()
            try:
                seen = await asyncio.to_thread(self._driver.discover)
            except DriverSilent as error:  # unknown is not gone
                log.error("the devices cannot be looked at: %s", error)
                continue
            tell(self._looks.look(seen, self._clock.boottime_ns()))
