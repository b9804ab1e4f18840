"""Which NVIDIA devices has this host?

GPUs, and in their place the instances of those that are in MIG mode, through NVML. NVML is begun
anew when the driver has gone or a GPU is missing, so that both are found when they come back. It
does not know who uses the devices, nor which errors are fatal.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Any

from msgspec.structs import replace

from penstock_contracts.nodes import Device
from penstock_node_agent.drivers.host import host_capacity
from penstock_node_agent.drivers.links import link_domains
from penstock_node_agent.drivers.nvml_calls import (
    DeviceFailed,
    DeviceHidden,
    DeviceLost,
    Nvml,
    NvmlUnavailable,
)
from penstock_node_agent.drivers.nvml_cards import Card, text
from penstock_node_agent.drivers.nvml_devices import Versions, devices_of, nameless
from penstock_node_agent.drivers.nvml_events import XidListener
from penstock_node_agent.drivers.nvml_readings import processes_of, readings_of
from penstock_node_agent.drivers.nvml_vitals import vitals_of
from penstock_node_agent.drivers.port import (
    CUDA_VISIBLE_DEVICES,
    DRIVER_ERROR,
    OFF_BUS,
    Capacity,
    DriverSilent,
    Listening,
    MemoryUse,
    Reading,
    Vitals,
    Xid,
)

RENEW_S = 30.0
RENEW_S_MAX = 600.0
"""Beginning anew may take seconds on a host whose GPUs sleep: tried less and less often."""
CLOSE_S_MAX = 5.0
SYSFS_PCI = Path("/sys/bus/pci/devices")

log = logging.getLogger(__name__)
Tell = Callable[[Xid], None]


class NvmlDriver:
    """Raises NvmlUnavailable when made on a host without a working NVML. `now_s`: a clock that
    never goes back."""

    name = "nvml"
    can_check = True
    visible_variable = CUDA_VISIBLE_DEVICES

    def __init__(
        self,
        module: Any = None,
        *,
        now_s: Callable[[], float] = time.monotonic,
        sysfs: Path = SYSFS_PCI,
    ) -> None:
        self._nvml, self._now_s, self._sysfs = Nvml(module), now_s, sysfs
        self._lock = RLock()  # NVML ends and begins only while nobody asks
        self._cards: dict[int, Card] = {}
        self._links: dict[str, str] | None = None
        self._seen: set[str] = set()  # GPUs that were there at some time
        self._missing = False
        self._renew_s, self._renewed_s = RENEW_S, now_s()
        self._tells: tuple[Tell, ...] = ()
        self._listener: XidListener | None = None
        self._xids: dict[str, int] = {}
        self._versions = Versions("", "")
        self._begun = False
        self._begin()

    def discover(self) -> tuple[Device, ...]:
        with self._lock:
            self._renew()
            found: list[Device] = []
            linkable: list[tuple[str, Any]] = []
            present: set[str] = set()
            for index in range(self._count()):
                try:
                    card = self._card(index)
                except DeviceHidden:
                    continue
                except (DeviceLost, DeviceFailed) as error:
                    found.append(nameless(index, error))
                    continue
                devices = tuple(devices_of(card, self._versions))
                found += devices
                present.add(card.uuid)
                if not card.cut and devices[0].healthy:
                    linkable.append((card.uuid, card.handle))
            self._missing = bool(self._seen - present) or any(map(_is_out_of_reach, found))
            self._seen |= present
            links = self._domains(linkable)
        return tuple(
            replace(device, link_domain=links[device.uuid]) if device.uuid in links else device
            for device in found
        )

    def capacity(self) -> Capacity:
        return host_capacity()

    def sample(self) -> tuple[Reading, ...]:
        with self._lock:
            now_s, driver = self._now_s(), self._versions.driver
            hears = self._listener.hears if self._listener is not None else frozenset()
            found: list[Reading] = []
            for card in self._known():
                silent = 0 if card.uuid in hears else None
                xid = self._xids.get(card.uuid, silent)
                found += readings_of(card, now_s, xid, driver)
            return tuple(found)

    def vitals(self) -> tuple[Vitals, ...]:
        with self._lock:
            found: list[Vitals] = []
            for card in self._known():
                told = vitals_of(card, self._now_s())
                uuids = [part.uuid for part in card.instances] if card.cut else [card.uuid]
                found += (replace(told, uuid=uuid) for uuid in uuids)
            return tuple(found)

    def memory_in_use(self, uuids: Sequence[str]) -> dict[str, MemoryUse]:
        wanted = set(uuids)
        found: dict[str, MemoryUse] = {}
        with self._lock:
            for card in self._known():
                parts = [(card.uuid, card.handle), *((i.uuid, i.handle) for i in card.instances)]
                for uuid, handle in parts:
                    if uuid not in wanted:
                        continue
                    with suppress(DeviceLost, DeviceFailed):
                        used = card.memory(handle)
                        processes = processes_of(card, handle)
                        pids = None if processes is None else tuple(p.pid for p in processes)
                        found[uuid] = replace(used, pids=pids)
        return found

    def listen(self, tell: Tell) -> Listening:
        with self._lock:
            self._tells = (*self._tells, tell)
            if self._listener is None and self._begun:
                self._hear()
        return _Ear(self, tell)

    def visible_devices(self, uuids: Sequence[str]) -> str:
        return ",".join(uuids)

    def close(self) -> None:
        """A question that never comes back must not keep the process from ending."""
        if not self._lock.acquire(timeout=CLOSE_S_MAX):
            log.error("NVML does not come back, and is left as it is")
            return
        try:
            self._tells = ()
            self._end()
        finally:
            self._lock.release()

    def deafen(self, tell: Tell) -> None:
        """Nothing more is told to it."""
        with self._lock:
            self._tells = tuple(one for one in self._tells if one is not tell)
            if not self._tells and self._listener is not None:
                self._listener.close()
                self._listener = None

    # -- beginning and ending ----------------------------------------------------------------------
    def _begin(self) -> None:
        """Raises NvmlUnavailable."""
        self._nvml.begin()
        self._begun = True
        try:
            driver = text(self._nvml.ask("nvmlSystemGetDriverVersion") or "")
            cuda = self._nvml.ask("nvmlSystemGetCudaDriverVersion_v2")
        except DriverSilent as error:
            self._end()
            raise NvmlUnavailable(str(error)) from error
        self._versions = Versions(driver, f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "")

    def _end(self) -> bool:
        """False when it cannot be ended, because somebody still waits in it."""
        if self._listener is not None and not self._listener.close():
            return False
        self._listener = None
        self._cards.clear()
        self._links = None
        if self._begun:
            with suppress(DriverSilent):  # it has gone by itself
                self._nvml.end()
            self._begun = False
        return True

    def _renew(self) -> None:
        """Begin anew if something is missing and it is time to. Raises DriverSilent."""
        if self._begun and not self._missing:
            self._renew_s = RENEW_S
            return
        if self._now_s() - self._renewed_s < self._renew_s:
            if self._begun:
                return
            raise DriverSilent("NVML has ended, and is begun anew in a while")
        self._renewed_s = self._now_s()
        self._renew_s = min(2 * self._renew_s, RENEW_S_MAX)
        if not self._end():
            return
        try:
            self._begin()
        except NvmlUnavailable as error:
            raise DriverSilent(str(error)) from error
        log.info("NVML has begun anew", extra={"driver_version": self._versions.driver})
        if self._tells:
            self._hear()

    def _count(self) -> int:
        """How many GPUs there were when NVML began. Raises DriverSilent."""
        if not self._begun:
            raise DriverSilent("NVML has ended")
        try:
            return int(self._nvml.demand("nvmlDeviceGetCount"))
        except (DriverSilent, DeviceLost, DeviceFailed, TypeError) as error:
            self._missing = True  # begin anew before the next look
            raise DriverSilent(str(error)) from error

    # -- looking -----------------------------------------------------------------------------------
    def _known(self) -> Iterator[Card]:
        """Every GPU that says who it is. Raises DriverSilent."""
        for index in range(self._count()):
            with suppress(DeviceHidden, DeviceLost, DeviceFailed):
                yield self._card(index)

    def _card(self, index: int) -> Card:
        card = self._cards.get(index)
        if card is None:
            card = self._cards[index] = Card(self._nvml, index, self._sysfs)
            with suppress(DeviceFailed, DeviceLost):
                card.look_for_instances()
        return card

    def _domains(self, linkable: Sequence[tuple[str, Any]]) -> dict[str, str]:
        """Asked when NVML has begun, and when other devices can be linked than before."""
        if self._links is None or set(self._links) != {uuid for uuid, _ in linkable}:
            found = link_domains(self._nvml.module, linkable)
            self._links = {uuid: found.get(uuid, "") for uuid, _ in linkable}
        return {uuid: domain for uuid, domain in self._links.items() if domain}

    # -- hearing -----------------------------------------------------------------------------------
    def _hear(self) -> None:
        with suppress(DriverSilent):
            self._listener = XidListener(self._nvml, tuple(self._known()), self._heard)

    def _heard(self, card: Card, code: int, gpu_instance: int | None) -> None:
        """On the listener's thread, without the lock: whoever holds it may wait for that thread."""
        self._xids[card.uuid] = code
        parts = card.instances
        if gpu_instance is not None:
            parts = tuple(part for part in parts if part.gpu_instance == gpu_instance) or parts
        for uuid in [part.uuid for part in parts] or [card.uuid]:
            for tell in self._tells:
                tell(Xid(uuid, code))


class _Ear:
    """One who listens to a driver."""

    def __init__(self, driver: NvmlDriver, tell: Tell) -> None:
        self._driver, self._tell = driver, tell

    def close(self) -> None:
        self._driver.deafen(self._tell)


def _is_out_of_reach(device: Device) -> bool:
    return device.health_code in (OFF_BUS, DRIVER_ERROR)
