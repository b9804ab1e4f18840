"""What must a kind of accelerator be able to tell?

It does not know who uses the devices, nor when one is to be taken for sick.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from penstock_contracts.nodes import Device
from penstock_node_agent.core.devices import DRIVER_ERROR as DRIVER_ERROR
from penstock_node_agent.core.devices import OFF_BUS as OFF_BUS

GIB_MIB = 1024
CUDA_VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"

MIG_EMPTY = "mig_empty"
"""Health codes that a driver finds by itself while it looks for devices."""

TEMPERATURE = "temperature"
POWER = "power"
POWER_BRAKE = "power_brake"
HARDWARE = "hardware"
"""Why a device runs slower than it could; a power brake is asked for from outside of it, and it may
not say more than that its hardware slows itself down."""


class DriverSilent(Exception):
    """The driver does not answer: nothing is known about any device now."""


class Vitals(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a device says of its own health. None = it does not say.

    `lost`: fallen off the bus. `error`: what it said to a question that it has answered before.
    `ecc_uncorrectable`: errors since its driver was loaded. `rows_*`: of its memory, remapped;
    `rows_pending`: at its next reset; `rows_failed`: it has no spare rows left. An instance says
    what its GPU says.
    """

    uuid: str
    index: int
    lost: bool = False
    error: str = ""
    ecc_uncorrectable: int | None = None
    rows_correctable: int | None = None
    rows_uncorrectable: int | None = None
    rows_pending: bool | None = None
    rows_failed: bool | None = None
    throttled: tuple[str, ...] | None = None


class Xid(msgspec.Struct, frozen=True):
    """The driver has logged this error of the device."""

    uuid: str
    code: int


class MemoryUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A device's memory now. `used_mib` is without what the driver keeps to itself, unless it does
    not say how much that is (`reserved_mib` None). `pids`: who holds some."""

    used_mib: int | None = None
    reserved_mib: int | None = None
    total_mib: int | None = None
    pids: tuple[int, ...] | None = None


class ProcessReading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A process on a device, by its number on this host."""

    pid: int
    memory_mib: int | None = None
    utilisation_percent: int | None = None


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One device now. None = the device or its driver does not say.

    `product`: the model in its maker's words. `parent`: of an instance, its GPU; `gpu_instance` and
    `profile`: which of it. `offered` false: a GPU that is used by its instances only. Memory used
    is without what the driver reserves, where it says so. PCIe in kB/s since the reading before.
    """

    uuid: str
    index: int
    model: str
    product: str = ""
    pci_bus: str = ""
    parent: str = ""
    gpu_instance: int | None = None
    profile: str = ""
    offered: bool = True
    minor: int | None = None
    driver_version: str = ""
    utilisation_percent: int | None = None
    memory_busy_percent: int | None = None
    memory_used_mib: int | None = None
    memory_free_mib: int | None = None
    memory_reserved_mib: int | None = None
    temperature_c: int | None = None
    memory_temperature_c: int | None = None
    power_mw: int | None = None
    energy_mj: int | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    pcie_sent_kb_s: int | None = None
    pcie_received_kb_s: int | None = None
    pcie_replays: int | None = None
    xid: int | None = None
    vitals: Vitals | None = None
    processes: tuple[ProcessReading, ...] | None = None


class Capacity(msgspec.Struct, frozen=True):
    """What the node declares beside its devices."""

    cpu_milli: int
    memory_mib: int


class Listening(Protocol):
    def close(self) -> None:
        """Nothing is told any more once it returns."""
        ...


class Deaf:
    """Listening to a driver that never tells anything by itself."""

    def close(self) -> None:
        return None


class DeviceDriver(Protocol):
    """Calls may take milliseconds; they run outside the event loop, also several at a time."""

    @property
    def name(self) -> str: ...

    @property
    def visible_variable(self) -> str:
        """By which a job is shown its devices."""
        ...

    @property
    def can_check(self) -> bool:
        """Whether `memory_in_use` tells anything, so that a device can be checked around a job."""
        ...

    def discover(self) -> tuple[Device, ...]:
        """Every device of the host, also unhealthy ones, in index order. Raises DriverSilent."""
        ...

    def capacity(self) -> Capacity: ...

    def sample(self) -> tuple[Reading, ...]:
        """Raises DriverSilent."""
        ...

    def vitals(self) -> tuple[Vitals, ...]:
        """Of every device that can be used. Raises DriverSilent."""
        ...

    def memory_in_use(self, uuids: Sequence[str]) -> dict[str, MemoryUse]:
        """Of those of the devices that answer. Raises DriverSilent."""
        ...

    def listen(self, tell: Callable[[Xid], None]) -> Listening:
        """Errors from now on, told on another thread, in the order in which they happen."""
        ...

    def visible_devices(self, uuids: Sequence[str]) -> str:
        """The value of `visible_variable` for a job that holds these; empty for none."""
        ...

    def close(self) -> None: ...
