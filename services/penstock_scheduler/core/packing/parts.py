"""Of what is a score made?

The default policy's score of one place, part by part, in millionths of a GPU: for people who ask
why. It does not decide.
"""

from __future__ import annotations

from typing import NamedTuple

from penstock_scheduler.core.packing.fleet import NodeRoom
from penstock_scheduler.core.packing.layout import (
    CPU_UNIT_MILLI,
    MILLI,
    WEIGHT_SUM,
    WEIGHT_SUM_BITS,
)
from penstock_scheduler.core.packing.packer import Choice, Packer
from penstock_scheduler.core.packing.shapes import PackShape, RowKey
from penstock_scheduler.core.packing.workload import may_use, typical


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


def parts_of(packer: Packer, shape: PackShape, choice: Choice) -> Parts:
    """The parts of the default policy's score of this place now. The rank must fit there."""
    room = packer.fleet.room(choice.node)
    after = _after(room, shape, choice)
    policy, workload = packer.policy, packer.workload
    ratio = policy.ratio(workload.cpu_milli_per_gpu)
    growth = _fragmented(after, packer) - _fragmented(room, packer)
    stranded = max(0, -_spare(after, ratio)) - max(0, -_spare(room, ratio))
    spare = max(0, _spare(after, ratio)) - max(0, _spare(room, ratio))
    prices = dict(workload.prices)
    kinds = [room.devices[device] for device in choice.devices]
    price = sum(prices.get(kind[0], 0) for kind in kinds if kind is not None) * shape.gpu_milli
    return Parts(
        -((policy.fragment * growth) >> WEIGHT_SUM_BITS),
        -(policy.tight * after.cpu_milli // CPU_UNIT_MILLI),
        -policy.stranded * stranded,
        -(policy.spare if shape.gpus else policy.spare_cpu_only) * spare,
        -(policy.price * price // MILLI),
        -(packer.loss_weight() * _loss(packer, room, shape, choice) // MILLI),
    )


def _loss(packer: Packer, room: NodeRoom, shape: PackShape, choice: Choice) -> int:
    if not shape.shares:
        return 0
    worth = packer.workload.hole_values
    free = room.free_milli[choice.devices[0]]
    return worth[free] - worth[free - shape.gpu_milli] - worth[shape.gpu_milli]


def _after(room: NodeRoom, shape: PackShape, choice: Choice) -> NodeRoom:
    free = list(room.free_milli)
    for device in choice.devices:
        free[device] -= shape.gpu_milli
    return room._replace(cpu_milli=room.cpu_milli - shape.cpu_milli, free_milli=tuple(free))


def _spare(room: NodeRoom, ratio: int) -> int:
    """How many milli-GPU more the CPU would do for; negative = GPU is stranded."""
    return room.cpu_milli * MILLI // ratio - _free(room)


def _free(room: NodeRoom) -> int:
    devices = zip(room.devices, room.free_milli, strict=True)
    return sum(free for kind, free in devices if kind is not None)


def _fragmented(room: NodeRoom, packer: Packer) -> int:
    """F of the node, weighted."""
    total = _free(room)
    usable = sum(
        weight * _usable(room, key)
        for key, weight in typical(packer.workload.counts, packer.policy.typical_step)
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
