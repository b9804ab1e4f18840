"""What would a host with these GPUs look like?

Declares devices that are not there; jobs on them are real processes. What nobody can use reads as
idle: no work on it, no memory in use; of power and heat nothing is said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from penstock_contracts.nodes import Device
from penstock_node_agent.drivers.port import (
    CUDA_VISIBLE_DEVICES,
    GIB_MIB,
    Capacity,
    Deaf,
    Listening,
    MemoryUse,
    Reading,
    Vitals,
    Xid,
)

CORES_PER_GPU = 16
MEMORY_GIB_PER_GPU = 128
DEVICES_MAX = 64
MEMORY_GIB = {
    "V100": 32,
    "T4": 16,
    "A10": 24,
    "A40": 48,
    "A100": 80,
    "L4": 24,
    "L40S": 48,
    "H100": 80,
    "H200": 141,
    "B200": 180,
    "GB200": 186,
    "B300": 288,
    "MI300X": 192,
}
"""By data sheet, the largest variant; another model's memory is unknown."""
NUMA_GPUS = 4
_FORM = re.compile(
    r"(?P<count>[0-9]{1,3})x(?P<model>[A-Za-z0-9][A-Za-z0-9_.+-]{0,39})"
    r"(/(?P<linked>[0-9]{1,3})|@(?P<domain>[A-Za-z0-9][A-Za-z0-9_.-]{0,63}))?"
)


class Simulated(NamedTuple):
    """Devices to declare: of every `linked` the links are one domain, None = of all; or `domain`
    names the one in which those of other hosts are, too."""

    devices: int
    model: str
    linked: int | None = None
    domain: str = ""

    def domain_of(self, index: int, node: str) -> str:
        return self.domain or f"{node}/{index // self.linked if self.linked else 0}"


class SimulatedDriver:
    name = "simulated"
    can_check = False
    visible_variable = CUDA_VISIBLE_DEVICES

    def __init__(self, simulated: Simulated, *, node: str) -> None:
        gib = MEMORY_GIB.get(simulated.model)
        self._devices = tuple(
            Device(
                uuid=f"SIM-{node}-{index}",
                index=index,
                model=simulated.model,
                memory_mib=gib * GIB_MIB if gib is not None else None,
                numa_node=index // NUMA_GPUS,
                link_domain=simulated.domain_of(index, node),
            )
            for index in range(simulated.devices)
        )

    def discover(self) -> tuple[Device, ...]:
        return self._devices

    def capacity(self) -> Capacity:
        count = max(1, len(self._devices))
        return Capacity(
            cpu_milli=count * CORES_PER_GPU * 1000,
            memory_mib=count * MEMORY_GIB_PER_GPU * GIB_MIB,
        )

    def sample(self) -> tuple[Reading, ...]:
        return tuple(
            Reading(
                uuid=device.uuid,
                index=device.index,
                model=device.model,
                utilisation_percent=0,
                memory_used_mib=0,
                memory_free_mib=device.memory_mib,
            )
            for device in self._devices
        )

    def vitals(self) -> tuple[Vitals, ...]:
        return ()

    def memory_in_use(self, uuids: Sequence[str]) -> dict[str, MemoryUse]:
        return {}

    def listen(self, tell: Callable[[Xid], None]) -> Listening:
        return Deaf()

    def visible_devices(self, uuids: Sequence[str]) -> str:
        index_of = {device.uuid: device.index for device in self._devices}
        return ",".join(str(index_of[uuid]) for uuid in uuids)

    def close(self) -> None:
        return None


def parse_simulated(text: str) -> Simulated:
    """`8xH100`; `8xH100/4`: of every four the links are one domain; `4xGB200@tray`: all are in the
    domain of that name, also those of other hosts. Raises ValueError.
    """
    matched = _FORM.fullmatch(text)
    if matched is None or int(matched["count"]) > DEVICES_MAX or matched["linked"] == "0":
        raise ValueError(
            f"simulated devices {text!r} do not have the form COUNTxMODEL, COUNTxMODEL/LINKED or "
            f"COUNTxMODEL@DOMAIN, for example 8xH100, with at most {DEVICES_MAX}"
        )
    linked = matched["linked"]
    return Simulated(
        int(matched["count"]),
        matched["model"],
        None if linked is None else int(linked),
        matched["domain"] or "",
    )
