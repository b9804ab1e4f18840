"""Which devices does a simulated host have, and which of them are broken?"""

from __future__ import annotations

import msgspec

from penstock_contracts.nodes import Device
from penstock_node_agent.drivers.port import GIB_MIB
from penstock_node_agent.drivers.simulated import MEMORY_GIB, Simulated, SimulatedDriver
from tests.simulation.terrain import Ground

UNHEALTHY, MISSING = "unhealthy", "missing"


class FaultyDriver(SimulatedDriver):
    """An agent finds a fault at its next start, as production does. `faults`: kind by UUID.
    `built_in`: all devices, well or not."""

    def __init__(self, ground: Ground, *, node: str) -> None:
        super().__init__(Simulated(len(ground.models), ""), node=node)
        self.faults: dict[str, str] = {}
        self.built_in = tuple(
            msgspec.structs.replace(
                device, model=model, memory_mib=_memory_mib(model), link_domain=link
            )
            for device, model, link in zip(
                super().discover(), ground.models, ground.links, strict=True
            )
        )

    def discover(self) -> tuple[Device, ...]:
        return tuple(
            self._look(device)
            for device in self.built_in
            if self.faults.get(device.uuid) != MISSING
        )

    def _look(self, device: Device) -> Device:
        if device.uuid not in self.faults:
            return device
        return msgspec.structs.replace(device, healthy=False, health_reason="as a test wants it")


def _memory_mib(model: str) -> int | None:
    gib = MEMORY_GIB.get(model)
    return None if gib is None else gib * GIB_MIB
