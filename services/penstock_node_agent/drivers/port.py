"""What must a kind of accelerator be able to tell?

It does not know who uses the devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from penstock_contracts.nodes import Device

GIB_MIB = 1024


class DriverSilent(Exception):
    """The driver does not answer: nothing is known about any device now."""


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One device now. None = the device or its driver does not say."""

    uuid: str
    index: int
    model: str
    utilisation_percent: int | None = None
    memory_used_mib: int | None = None
    memory_free_mib: int | None = None
    temperature_c: int | None = None
    power_mw: int | None = None
    energy_mj: int | None = None
    sm_clock_mhz: int | None = None


class Capacity(msgspec.Struct, frozen=True):
    """What the node declares beside its devices."""

    cpu_milli: int
    memory_mib: int


class DeviceDriver(Protocol):
    """Calls may take milliseconds; they run outside the event loop."""

    @property
    def name(self) -> str: ...

    def discover(self) -> tuple[Device, ...]:
        """Every device of the host, also unhealthy ones, in index order. Raises DriverSilent."""
        ...

    def capacity(self) -> Capacity: ...

    def sample(self) -> tuple[Reading, ...]:
        """Raises DriverSilent."""
        ...

    def visible_devices(self, uuids: Sequence[str]) -> str:
        """The value of CUDA_VISIBLE_DEVICES for a job that holds these; empty for none."""
        ...

    def close(self) -> None: ...
