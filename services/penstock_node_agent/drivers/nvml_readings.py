"""What does an NVIDIA device read now?

One round of questions per GPU, and a short one per instance of it. What is not answered is None. It
does not know whose the processes are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock_node_agent.drivers.nvml_calls import SUCCESS, DeviceFailed, DeviceLost
from penstock_node_agent.drivers.nvml_cards import Card, Instance, Pcie
from penstock_node_agent.drivers.nvml_vitals import TEMPERATURE_GPU, recent_vitals_of
from penstock_node_agent.drivers.port import MemoryUse, ProcessReading, Reading

CLOCK_SM, CLOCK_MEMORY = 1, 2
PCIE_SENT, PCIE_RECEIVED = 0, 1
FIELD_MEMORY_TEMPERATURE = 82
FIELD_PCIE_REPLAYS = 94
FIELD_PCIE_SENT_BYTES = 197
FIELD_PCIE_RECEIVED_BYTES = 198
FIELDS = (
    FIELD_MEMORY_TEMPERATURE,
    FIELD_PCIE_REPLAYS,
    FIELD_PCIE_SENT_BYTES,
    FIELD_PCIE_RECEIVED_BYTES,
)
WIDE = {2: "ulVal", 3: "ullVal"}
NARROW = {1: "uiVal", 5: "siVal", 6: "usVal"}
"""By nvmlValueType. A narrow counter of bytes wraps many times between two samples."""
PROCESS_LISTS = (
    "nvmlDeviceGetComputeRunningProcesses",
    "nvmlDeviceGetMPSComputeRunningProcesses",
    "nvmlDeviceGetGraphicsRunningProcesses",
)
PROCESSES_MAX = 256
"""Of one device, in one sample."""


def readings_of(card: Card, now_s: float, xid: int | None, driver: str) -> Iterable[Reading]:
    """The GPU's, then those of its instances. `xid`: the last one told of it. Raises
    DriverSilent."""
    rates = card.ask("nvmlDeviceGetUtilizationRates", card.handle)
    memory = memory_of(card, card.handle)
    fields = _fields(card)
    processes = None if card.cut else processes_of(card, card.handle)
    sent, received = _pcie(card, fields, now_s, busy=bool(processes))
    temperature = card.ask("nvmlDeviceGetTemperature", card.handle, TEMPERATURE_GPU)
    sm_clock = card.ask("nvmlDeviceGetClockInfo", card.handle, CLOCK_SM)
    memory_clock = card.ask("nvmlDeviceGetClockInfo", card.handle, CLOCK_MEMORY)
    yield Reading(
        uuid=card.uuid,
        index=card.index,
        model=card.model,
        product=card.product,
        pci_bus=card.pci_bus,
        offered=not card.cut,
        minor=card.minor,
        driver_version=driver,
        utilisation_percent=None if rates is None else rates.gpu,
        memory_busy_percent=None if rates is None else getattr(rates, "memory", None),
        memory_used_mib=memory.used_mib,
        memory_free_mib=_free(memory),
        memory_reserved_mib=memory.reserved_mib,
        temperature_c=temperature,
        memory_temperature_c=fields.get(FIELD_MEMORY_TEMPERATURE),
        power_mw=card.ask("nvmlDeviceGetPowerUsage", card.handle),
        energy_mj=card.ask("nvmlDeviceGetTotalEnergyConsumption", card.handle),
        sm_clock_mhz=sm_clock,
        memory_clock_mhz=memory_clock,
        pcie_sent_kb_s=sent,
        pcie_received_kb_s=received,
        pcie_replays=fields.get(FIELD_PCIE_REPLAYS),
        xid=xid,
        vitals=recent_vitals_of(card, now_s),
        processes=processes,
    )
    for instance in card.instances:
        yield _instance(card, instance, temperature, sm_clock, driver)


def memory_of(card: Card, handle: Any) -> MemoryUse:
    try:
        return card.memory(handle)
    except (DeviceLost, DeviceFailed):
        return MemoryUse()


def processes_of(card: Card, handle: Any) -> tuple[ProcessReading, ...] | None:
    """Who has memory or work there; None when not even the first list is told. All of them are in
    it but those that only draw, and servers of MPS; when it is empty, the others are not asked."""
    found: dict[int, int | None] = {}
    for call in PROCESS_LISTS:
        told = card.ask(call, handle)
        if not told and call == PROCESS_LISTS[0]:
            return None if told is None else ()
        for process in (told or ())[:PROCESSES_MAX]:
            used = process.usedGpuMemory
            if found.get(process.pid) is None:
                found[process.pid] = None if used is None else used >> 20
    busy = _utilisation(card) if found and handle is card.handle else {}
    return tuple(
        ProcessReading(pid=pid, memory_mib=memory, utilisation_percent=busy.get(pid))
        for pid, memory in sorted(found.items())
    )


def _instance(
    card: Card, instance: Instance, temperature: int | None, sm_clock: int | None, driver: str
) -> Reading:
    """Power, energy and PCIe are the whole GPU's, and not said again of its parts."""
    memory = memory_of(card, instance.handle)
    return Reading(
        uuid=instance.uuid,
        index=card.index,
        model=instance.model,
        product=card.product,
        pci_bus=card.pci_bus,
        parent=card.uuid,
        gpu_instance=instance.gpu_instance,
        profile=instance.profile,
        minor=card.minor,
        driver_version=driver,
        memory_used_mib=memory.used_mib,
        memory_free_mib=_free(memory),
        memory_reserved_mib=memory.reserved_mib,
        temperature_c=temperature,
        sm_clock_mhz=sm_clock,
        processes=processes_of(card, instance.handle),
    )


def _free(memory: MemoryUse) -> int | None:
    if memory.total_mib is None or memory.used_mib is None:
        return None
    return memory.total_mib - memory.used_mib - (memory.reserved_mib or 0)


def _fields(card: Card) -> dict[int, int]:
    """Those that it knows. Counters of bytes only where they are wide enough."""
    told = card.ask("nvmlDeviceGetFieldValues", card.handle, list(FIELDS))
    values: dict[int, int] = {}
    for value in told or ():
        if value.nvmlReturn != SUCCESS:
            continue
        wide = WIDE.get(value.valueType)
        narrow = NARROW.get(value.valueType)
        counts_bytes = value.fieldId in (FIELD_PCIE_SENT_BYTES, FIELD_PCIE_RECEIVED_BYTES)
        name = wide if wide or counts_bytes else narrow
        if name is not None:
            values[value.fieldId] = int(getattr(value.value, name))
    return values


def _pcie(
    card: Card, fields: dict[int, int], now_s: float, *, busy: bool
) -> tuple[int | None, int | None]:
    """kB/s each way: from counters since the last sample, or, of a device in use, measured by the
    driver, which takes it 20 ms each way."""
    sent, received = fields.get(FIELD_PCIE_SENT_BYTES), fields.get(FIELD_PCIE_RECEIVED_BYTES)
    if sent is None or received is None:
        if not busy:
            return None, None
        return (
            card.ask("nvmlDeviceGetPcieThroughput", card.handle, PCIE_SENT),
            card.ask("nvmlDeviceGetPcieThroughput", card.handle, PCIE_RECEIVED),
        )
    before, card.pcie = card.pcie, Pcie(now_s, sent, received)
    if before is None or now_s <= before.at_s:
        return None, None
    if sent < before.sent_bytes or received < before.received_bytes:  # began anew
        return None, None
    milliseconds = (now_s - before.at_s) * 1000
    return (
        round((sent - before.sent_bytes) / milliseconds),
        round((received - before.received_bytes) / milliseconds),
    )


def _utilisation(card: Card) -> dict[int, int]:
    """Per process, the mean of what was measured since the last sample."""
    told = card.ask("nvmlDeviceGetProcessUtilization", card.handle, card.utilisation_seen_us)
    sums: dict[int, list[int]] = {}
    for measured in told or ():
        if measured.timeStamp > card.utilisation_seen_us:
            sums.setdefault(measured.pid, []).append(measured.smUtil)
    newest = max((measured.timeStamp for measured in told or ()), default=0)
    card.utilisation_seen_us = max(card.utilisation_seen_us, newest)
    return {pid: round(sum(values) / len(values)) for pid, values in sums.items()}
