"""What does a host offer whose NVIDIA driver may still be loaded?

Nothing but CPUs until NVML begins; from then on what NVML says. It is tried as often as the devices
are looked at, but not more than twice a minute.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from penstock_contracts.nodes import Device
from penstock_node_agent.drivers.cpu import CpuDriver
from penstock_node_agent.drivers.nvml_calls import NvmlUnavailable
from penstock_node_agent.drivers.port import (
    Capacity,
    DeviceDriver,
    Listening,
    MemoryUse,
    Reading,
    Vitals,
    Xid,
)

TRY_S = 30.0

log = logging.getLogger(__name__)


class LateDriver:
    """`make` raises NvmlUnavailable while there is none; it has done so just before."""

    def __init__(
        self, make: Callable[[], DeviceDriver], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._make, self._now_s = make, now_s
        self._driver: DeviceDriver = CpuDriver()
        self._found = False
        self._tried_s = now_s()
        self._listening: list[_Ear] = []

    @property
    def name(self) -> str:
        return self._driver.name

    @property
    def visible_variable(self) -> str:
        return self._driver.visible_variable

    @property
    def can_check(self) -> bool:
        return self._driver.can_check

    def discover(self) -> tuple[Device, ...]:
        if not self._found and self._now_s() - self._tried_s >= TRY_S:
            self._try()
        return self._driver.discover()

    def capacity(self) -> Capacity:
        return self._driver.capacity()

    def sample(self) -> tuple[Reading, ...]:
        return self._driver.sample()

    def vitals(self) -> tuple[Vitals, ...]:
        return self._driver.vitals()

    def memory_in_use(self, uuids: Sequence[str]) -> dict[str, MemoryUse]:
        return self._driver.memory_in_use(uuids)

    def listen(self, tell: Callable[[Xid], None]) -> Listening:
        ear = _Ear(tell, self._driver.listen(tell))
        self._listening.append(ear)
        return ear

    def visible_devices(self, uuids: Sequence[str]) -> str:
        return self._driver.visible_devices(uuids)

    def close(self) -> None:
        self._driver.close()

    def _try(self) -> None:
        self._tried_s = self._now_s()
        try:
            driver = self._make()
        except NvmlUnavailable:
            return
        for ear in self._listening:
            ear.turn_to(driver)
        self._driver, self._found = driver, True
        log.info("there is an NVIDIA driver now")


class _Ear:
    """One who listens to whichever driver there is."""

    def __init__(self, tell: Callable[[Xid], None], listening: Listening) -> None:
        self._tell, self._listening = tell, listening
        self._closed = False

    def turn_to(self, driver: DeviceDriver) -> None:
        if not self._closed:
            self._listening = driver.listen(self._tell)

    def close(self) -> None:
        self._closed = True
        self._listening.close()
