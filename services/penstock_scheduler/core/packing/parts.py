"""Of what is a score made?

The default policy's score of one place, part by part, in millionths of a GPU: for people who ask
why. It does not decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from penstock_scheduler.core.packing.fleet import NodeRoom
from penstock_scheduler.core.packing.layout import (
    CPU_UNIT_MILLI,
    MILLI,
    WEIGHT_SUM,
    WEIGHT_SUM_BITS,
)
from penstock_scheduler.core.packing.packer import Packer
from penstock_scheduler.core.packing.policies import Policy
from penstock_scheduler.core.packing.shapes import PackShape, RowKey
from penstock_scheduler.core.packing.workload import Workload, may_use, typical


class Parts(NamedTuple):
    """Each part as it enters the score, most of them at most 0: the growth of fragmentation, how
    much is left, GPU stranded for want of CPU, CPU left to spare, the model's price, the loss
    against a perfect pattern."""

    fragment: int
    tight: int
    stranded: int
    spare: int
    price: int
    loss: int

    @property
    def score(self) -> int:
        return sum(self)


class Terms(NamedTuple):
    """By what places are scored at a moment. `loss_weight`: see `Packer.loss_weight`."""

    policy: Policy
    workload: Workload
    loss_weight: int


def terms_of(packer: Packer) -> Terms:
    """Those of now."""
    return Terms(packer.policy, packer.workload, packer.loss_weight())


def parts_in(room: NodeRoom, shape: PackShape, devices: Sequence[int], terms: Terms) -> Parts:
    """The parts of the default policy's score of these devices of a node that is, or was, like
    this. The rank must fit there."""
    after = _after(room, shape, devices)
    policy, workload, loss_weight = terms
    ratio = policy.ratio(workload.cpu_milli_per_gpu)
    shapes = typical(workload.counts, policy.typical_step)
    growth = _fragmented(after, shapes) - _fragmented(room, shapes)
    stranded = max(0, -_spare(after, ratio)) - max(0, -_spare(room, ratio))
    spare = max(0, _spare(after, ratio)) - max(0, _spare(room, ratio))
    prices = dict(workload.prices)
    kinds = [room.devices[device] for device in devices]
    price = sum(prices.get(kind[0], 0) for kind in kinds if kind is not None) * shape.gpu_milli
    loss = _loss(workload, room.free_milli[devices[0]], shape) if shape.shares else 0
    return Parts(
        -((policy.fragment * growth) >> WEIGHT_SUM_BITS),
        -(policy.tight * after.cpu_milli // CPU_UNIT_MILLI),
        -policy.stranded * stranded,
        -(policy.spare if shape.gpus else policy.spare_cpu_only) * spare,
        -(policy.price * price // MILLI),
        -(loss_weight * loss // MILLI),
    )


def _loss(workload: Workload, free: int, shape: PackShape) -> int:
    worth = workload.hole_values
    return worth[free] - worth[free - shape.gpu_milli] - worth[shape.gpu_milli]


def _after(room: NodeRoom, shape: PackShape, devices: Sequence[int]) -> NodeRoom:
    free = list(room.free_milli)
    for device in devices:
        free[device] -= shape.gpu_milli
    return room._replace(cpu_milli=room.cpu_milli - shape.cpu_milli, free_milli=tuple(free))


def _spare(room: NodeRoom, ratio: int) -> int:
    """How many milli-GPU more the CPU would do for; negative = GPU is stranded."""
    return room.cpu_milli * MILLI // ratio - _free(room)


def _free(room: NodeRoom) -> int:
    devices = zip(room.devices, room.free_milli, strict=True)
    return sum(free for kind, free in devices if kind is not None)


def _fragmented(room: NodeRoom, shapes: Sequence[tuple[RowKey, int]]) -> int:
    """F of the node, weighted."""
    total = _free(room)
    usable = sum(
        weight * _usable(room, key)
        for key, weight in shapes
        if key.gpus and key.cpu_milli <= room.cpu_milli
    )
    return total * WEIGHT_SUM - usable


def _usable(room: NodeRoom, key: RowKey) -> int:
    """Free milli-GPU on devices that the typical shape could use; 0 when it does not fit."""
    devices = [
        free
        for kind, free in zip(room.devices, room.free_milli, strict=True)
        if kind is not None and free >= key.gpu_milli and may_use(key, kind)
    ]
    return sum(devices) if len(devices) >= key.gpus else 0
