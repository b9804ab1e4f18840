"""What does a host without accelerators offer?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock_contracts.nodes import Device
from penstock_node_agent.drivers.host import host_capacity
from penstock_node_agent.drivers.port import (
    CUDA_VISIBLE_DEVICES,
    Capacity,
    Deaf,
    Listening,
    MemoryUse,
    Reading,
    Vitals,
    Xid,
)


class CpuDriver:
    """No devices: such a node takes jobs with `gpus` 0 only."""

    name = "cpu"
    can_check = False
    visible_variable = CUDA_VISIBLE_DEVICES

    def discover(self) -> tuple[Device, ...]:
        return ()

    def capacity(self) -> Capacity:
        return host_capacity()

    def sample(self) -> tuple[Reading, ...]:
        return ()

    def vitals(self) -> tuple[Vitals, ...]:
        return ()

    def memory_in_use(self, uuids: Sequence[str]) -> dict[str, MemoryUse]:
        return {}

    def listen(self, tell: Callable[[Xid], None]) -> Listening:
        return Deaf()

    def visible_devices(self, uuids: Sequence[str]) -> str:
        return ""

    def close(self) -> None:
        return None
