"""Which devices does a simulated host have, and which of them are broken?"""

from __future__ import annotations

import msgspec

from penstock_contracts.nodes import Device
from penstock_node_agent.drivers.simulated import SimulatedDriver

UNHEALTHY, MISSING = "unhealthy", "missing"


class FaultyDriver(SimulatedDriver):
    """An agent finds a fault at its next start, as production does. `faults`: kind by UUID."""

    def __init__(self, count: int, model: str, *, node: str) -> None:
        super().__init__(count, model, node=node)
        self.faults: dict[str, str] = {}

    def discover(self) -> tuple[Device, ...]:
        return tuple(
            self._look(device)
            for device in super().discover()
            if self.faults.get(device.uuid) != MISSING
        )

    def _look(self, device: Device) -> Device:
        if device.uuid not in self.faults:
            return device
        return msgspec.structs.replace(device, healthy=False, health_reason="as a test wants it")
