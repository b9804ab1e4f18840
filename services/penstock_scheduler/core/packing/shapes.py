"""What does a rank ask of one node?

Sizes and the devices it may use; two ranks of the same shape fit exactly the same places. It does
not know how many ranks a job has, nor which nodes are closed to it.
"""

from __future__ import annotations

from typing import NamedTuple

from penstock_contracts.jobs import GPU_MILLI_WHOLE


class PackShape(NamedTuple):
    """`gpu_milli` is per device, below 1000 only with one device; 0 with none. `gpu_memory_mib`:
    what the rank needs on each device, None = no limit. `models`: any of these; empty = any.
    `units`: of whatever else a node has a number of."""

    cpu_milli: int
    memory_mib: int
    gpus: int = 0
    gpu_milli: int = 0
    gpu_memory_mib: int | None = None
    models: tuple[str, ...] = ()
    units: int = 0

    @property
    def asked_milli(self) -> int:
        """All milli-GPU together."""
        return self.gpus * self.gpu_milli

    @property
    def shares(self) -> bool:
        """Whether it takes a part of one device."""
        return self.gpus == 1 and self.gpu_milli < GPU_MILLI_WHOLE

    @property
    def device_memory_mib(self) -> int:
        """The least memory a device must have in all: a share of it comes with a share of that."""
        if not self.gpu_memory_mib or not self.gpu_milli:
            return 0
        return -(-self.gpu_memory_mib * GPU_MILLI_WHOLE // self.gpu_milli)


class RowKey(NamedTuple):
    """What of a shape decides its scores; main memory and units only decide whether it fits."""

    cpu_milli: int
    gpus: int
    gpu_milli: int
    device_memory_mib: int
    models: tuple[str, ...]


def row_key(shape: PackShape) -> RowKey:
    """The key under which a shape's scores are kept."""
    return RowKey(
        shape.cpu_milli,
        shape.gpus,
        shape.gpu_milli if shape.gpus else 0,
        shape.device_memory_mib if shape.gpus else 0,
        tuple(sorted(set(shape.models))) if shape.gpus else (),
    )
