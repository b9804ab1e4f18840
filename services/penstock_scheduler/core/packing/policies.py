"""How does a placement policy weigh what it sees?

The policies that can be chosen, by name, with their numbers. It does not compute a score.
"""

from __future__ import annotations

from math import ceil, log
from typing import NamedTuple

import numpy as np

from penstock_scheduler.core.packing.layout import (
    BEST_FIT,
    FGD,
    GPU_PACKING,
    MILLI,
    PENSTOCK,
    RANDOM,
    WEIGHT_SUM,
    Array,
)


class Policy(NamedTuple):
    """Weights are thousandths: 1300 = 1.3 GPU lost per GPU of growth. See docs/placement.md."""

    name: str
    number: int
    fragment: int = 0
    tight: int = 0
    stranded: int = 0
    spare: int = 0
    spare_cpu_only: int = 0
    price: int = 0
    loss_floor: int = 0
    loss_slope: int = 0
    loss_power: float = 1.0
    loss_reference: int = 0
    ratio_percent: int = 100
    typical_step: int = 1

    def ratio(self, cpu_milli_per_gpu: int) -> int:
        """r: milli-CPU per GPU on a node in balance, when the workload asks for so much."""
        return cpu_milli_per_gpu * self.ratio_percent // 100 or 1

    def loss_weight(self, free_share: float) -> int:
        """What a poor pattern counts when this share of the fleet's devices is wholly free."""
        return self.loss_floor + int(self.loss_slope * max(0.0, free_share) ** self.loss_power)


DEFAULT = Policy(
    "penstock",
    PENSTOCK,
    fragment=1142,
    tight=18_000,
    stranded=1062,
    spare=930,
    spare_cpu_only=1970,
    price=400,
    loss_floor=3500,
    loss_slope=26_500,
    loss_power=0.35,
    loss_reference=1800,
    ratio_percent=105,
)
POLICIES = {
    policy.name: policy
    for policy in (
        DEFAULT,
        Policy("fgd", FGD, typical_step=10),
        Policy("best_fit", BEST_FIT),
        Policy("gpu_packing", GPU_PACKING),
        Policy("random", RANDOM),
    )
}


def sigmoid_thresholds() -> Array:
    """From which decrease of fragmentation on FGD's score is 1, 2, ... 99: in milli-GPU, times
    WEIGHT_SUM."""
    steps = [ceil(MILLI * WEIGHT_SUM * log(q / (100 - q))) for q in range(1, 100)]
    return np.array(steps, np.int64)
