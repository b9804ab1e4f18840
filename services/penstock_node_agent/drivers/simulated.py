"""What would a host with these GPUs look like?

Declares devices that are not there; jobs on them are real processes. No memory of them is in use,
and of heat nothing is said. While something runs on one, it pretends to be busy and to draw for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
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
POWER_W = {
    "V100": 300,
    "T4": 70,
    "A10": 150,
    "A40": 300,
    "A100": 400,
    "L4": 72,
    "L40S": 350,
    "H100": 700,
    "H200": 700,
    "B200": 1000,
    "GB200": 1200,
    "B300": 1400,
    "MI300X": 750,
}
"""By data sheet, the most that one draws."""
POWER_W_OF_OTHERS = 300
IDLE_PERCENT, BUSY_PERCENT = 10, 80
"""Of that, with nothing and with anything on it."""
UTILISATION_PERCENT = 90
PJ_PER_MJ = 1_000_000_000
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

        self._busy: Callable[[], Collection[str]] = tuple
        self._boottime_ns: Callable[[], int] | None = None
        self._read_ns = 0
        self._drawn_pj: dict[str, int] = {}

    def pretend(self, boottime_ns: Callable[[], int], busy: Callable[[], Collection[str]]) -> None:
        """From now on what devices read depends on whether they are `busy`. Until then nobody knows
        what they draw."""
        self._boottime_ns, self._busy = boottime_ns, busy
        self._read_ns = self._read_ns or boottime_ns()

    def discover(self) -> tuple[Device, ...]:
        return self._devices

    def capacity(self) -> Capacity:
        count = max(1, len(self._devices))
        return Capacity(
            cpu_milli=count * CORES_PER_GPU * 1000,
            memory_mib=count * MEMORY_GIB_PER_GPU * GIB_MIB,
        )

    def sample(self) -> tuple[Reading, ...]:
        busy = self._busy()
        since_ns = self._pass_time()
        return tuple(
            Reading(
                uuid=device.uuid,
                index=device.index,
                model=device.model,
                utilisation_percent=UTILISATION_PERCENT if device.uuid in busy else 0,
                memory_used_mib=0,
                memory_free_mib=device.memory_mib,
                energy_mj=self._draw(device, since_ns, busy=device.uuid in busy),
            )
            for device in self._devices
        )

    def _pass_time(self) -> int | None:
        if self._boottime_ns is None:
            return None
        before, self._read_ns = self._read_ns, self._boottime_ns()
        return self._read_ns - before

    def _draw(self, device: Device, since_ns: int | None, *, busy: bool) -> int | None:
        """Its counter, which has not gone back if boot time has not."""
        if since_ns is None:
            return None
        power_w = POWER_W.get(device.model, POWER_W_OF_OTHERS)
        power_mw = power_w * 10 * (BUSY_PERCENT if busy else IDLE_PERCENT)
        drawn_pj = self._drawn_pj.get(device.uuid, 0) + power_mw * max(0, since_ns)
        self._drawn_pj[device.uuid] = drawn_pj
        return drawn_pj // PJ_PER_MJ

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
