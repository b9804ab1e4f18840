"""What does a rank ask of one node?

Sizes and the devices it may use; two ranks of the same shape fit exactly the same places. It does
not know how many ranks a job has, nor which nodes are closed to it.
"""

from __future__ import annotations

from typing import NamedTuple

from penstock_contracts.jobs import GPU_MILLI_WHOLE


class PackShape(NamedTuple):
    """`gpu_milli` is per device, below 1000 only with one device; 0 with none. `gpu_memory_mib`:
    what the rank needs on each device, None = no limit. `models`: any of these; empty = any."""

    cpu_milli: int
    memory_mib: int
    gpus: int = 0
    gpu_milli: int = 0
    gpu_memory_mib: int | None = None
    models: tuple[str, ...] = ()

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
    """What of a shape decides its scores; main memory only decides whether it fits."""

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
        shape.gpu_milli,
        shape.device_memory_mib,
        tuple(sorted(set(shape.models))) if shape.gpus else (),
    )


def problem_of(shape: PackShape) -> str:
    """What is wrong with a shape, in words; empty = nothing."""
    if min(shape.cpu_milli, shape.memory_mib, shape.gpus, shape.gpu_milli) < 0:
        return "a size is negative"
    if shape.gpu_milli > GPU_MILLI_WHOLE:
        return f"gpu_milli is {shape.gpu_milli}, but a device has {GPU_MILLI_WHOLE}"
    if shape.gpus and not shape.gpu_milli:
        return "gpu_milli is 0, but a device is asked for"
    if shape.gpu_milli and not shape.gpus:
        return "gpu_milli is given, but no device is asked for"
    if shape.gpus > 1 and shape.gpu_milli < GPU_MILLI_WHOLE:
        return f"a share of {shape.gpu_milli} milli-GPU can only be had of one device"
    return ""
