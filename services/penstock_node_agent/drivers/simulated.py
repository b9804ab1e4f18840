"""What would a host with these GPUs look like?

Declares devices that are not there; jobs on them are real processes. It has no readings, because
nothing is measured.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from penstock_contracts.nodes import Device
from penstock_node_agent.drivers.port import GIB_MIB, Capacity, Reading

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
_FORM = re.compile(r"([0-9]{1,3})x([A-Za-z0-9][A-Za-z0-9_.+-]{0,39})")


class SimulatedDriver:
    name = "simulated"

    def __init__(self, count: int, model: str, *, node: str) -> None:
        gib = MEMORY_GIB.get(model)
        self._devices = tuple(
            Device(
                uuid=f"SIM-{node}-{index}",
                index=index,
                model=model,
                memory_mib=gib * GIB_MIB if gib is not None else None,
                numa_node=index // NUMA_GPUS,
                link_domain=f"{node}/0",
            )
            for index in range(count)
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
            Reading(uuid=device.uuid, index=device.index, model=device.model)
            for device in self._devices
        )

    def visible_devices(self, uuids: Sequence[str]) -> str:
        index_of = {device.uuid: device.index for device in self._devices}
        return ",".join(str(index_of[uuid]) for uuid in uuids)

    def close(self) -> None:
        return None


def parse_simulated(text: str) -> tuple[int, str]:
    """`8xH100` as (8, "H100"); raises ValueError."""
    matched = _FORM.fullmatch(text)
    if matched is None or int(matched[1]) > DEVICES_MAX:
        raise ValueError(
            f"simulated devices {text!r} do not have the form COUNTxMODEL, for example 8xH100, "
            f"with at most {DEVICES_MAX}"
        )
    return int(matched[1]), matched[2]
