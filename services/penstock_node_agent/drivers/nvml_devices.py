"""What is said of a GPU that is there: itself, or the instances that it is cut into?

It does not know which other GPUs there are, nor what is done about sick ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from msgspec.structs import replace

from penstock_contracts.nodes import Device
from penstock_node_agent.drivers.nvml_calls import DeviceFailed, DeviceLost
from penstock_node_agent.drivers.nvml_cards import Card
from penstock_node_agent.drivers.port import DRIVER_ERROR, MIG_EMPTY, OFF_BUS


class Versions(NamedTuple):
    """Of the host's driver, "" = it does not say. `cuda`: the newest that the driver runs."""

    driver: str
    cuda: str


def devices_of(card: Card, versions: Versions) -> Iterator[Device]:
    """One or more; all are sick when the GPU is. Raises DriverSilent."""
    trouble: Exception | None = None
    memory_mib: int | None = None
    try:
        card.look_for_instances()
        memory_mib = card.memory(card.handle).total_mib  # only a living device answers
    except (DeviceLost, DeviceFailed) as error:
        trouble = error
    whole = Device(
        uuid=card.uuid,
        index=card.index,
        model=card.model,
        memory_mib=memory_mib,
        numa_node=card.numa_node,
        compute_capability=card.capability,
        driver_version=versions.driver,
        cuda_version=versions.cuda,
        pci_bus=card.pci_bus,
        ecc=card.ecc,
    )
    if card.cut and not card.instances:
        reason = "MIG mode is on, and there are no instances"
        yield replace(whole, healthy=False, health_code=MIG_EMPTY, health_reason=reason)
    elif not card.cut:
        yield whole if trouble is None else _sick(whole, trouble)
    for instance in card.instances:
        part = replace(
            whole,
            uuid=instance.uuid,
            model=instance.model,
            memory_mib=_memory_mib(card, instance.handle),
            parent=card.uuid,
        )
        yield part if trouble is None else _sick(part, trouble)


def nameless(index: int, error: Exception) -> Device:
    """A GPU that does not even say who it is."""
    return _sick(Device(uuid=f"NVML-{index}", index=index, model="unknown"), error)


def _memory_mib(card: Card, handle: Any) -> int | None:
    try:
        return card.memory(handle).total_mib
    except (DeviceLost, DeviceFailed):
        return None


def _sick(device: Device, error: Exception) -> Device:
    code = OFF_BUS if isinstance(error, DeviceLost) else DRIVER_ERROR
    return replace(device, healthy=False, health_code=code, health_reason=str(error))
