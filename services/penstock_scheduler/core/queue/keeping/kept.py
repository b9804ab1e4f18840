"""How much of a node is meant?

Milli-GPU of each device, CPU, memory and room for orders together, as what leases hold and as what
is kept. It does not know for whom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from penstock_scheduler.core.orders.room import order_units

if TYPE_CHECKING:
    from penstock_scheduler.core.state import Lease, Node


class Kept(msgspec.Struct):
    """`devices`: in the order of the node's image."""

    devices: list[int]
    cpu_milli: int = 0
    memory_mib: int = 0
    units: int = 0

    def add(self, other: Kept) -> None:
        self.devices = [a + b for a, b in zip(self.devices, other.devices, strict=True)]
        self.cpu_milli += other.cpu_milli
        self.memory_mib += other.memory_mib
        self.units += other.units

    def left(self, free: list[int]) -> int:
        """Milli-GPU of what is free that are not kept."""
        return sum(max(0, a - b) for a, b in zip(free, self.devices, strict=True))

    def covers(self, other: Kept) -> bool:
        """Whether all of the other is in it."""
        return (
            self.cpu_milli >= other.cpu_milli
            and self.memory_mib >= other.memory_mib
            and self.units >= other.units
            and all(a >= b for a, b in zip(self.devices, other.devices, strict=True))
        )

    def settle(self, other: Kept) -> None:
        """Takes from both what both have."""
        for at, (mine, theirs) in enumerate(zip(self.devices, other.devices, strict=True)):
            both = min(mine, theirs)
            self.devices[at] -= both
            other.devices[at] -= both
        both = min(self.cpu_milli, other.cpu_milli)
        self.cpu_milli, other.cpu_milli = self.cpu_milli - both, other.cpu_milli - both
        both = min(self.memory_mib, other.memory_mib)
        self.memory_mib, other.memory_mib = self.memory_mib - both, other.memory_mib - both
        both = min(self.units, other.units)
        self.units, other.units = self.units - both, other.units - both


def held_by(lease: Lease, node: Node) -> Kept:
    """What a lease holds of its node."""
    devices = [0] * len(node.image.devices)
    if lease.uuids:
        held = set(lease.uuids)
        for at, (uuid, _, _) in enumerate(node.image.devices):
            if uuid in held:
                devices[at] = lease.gpu_milli
    units = order_units(lease.spec)
    return Kept(devices, lease.cpu_milli, lease.memory_mib, units)


def free_of(node: Node) -> Kept:
    """What is free of it, for whomever."""
    return Kept(list(node.free), node.cpu_free, node.memory_free, node.order_units_free)
