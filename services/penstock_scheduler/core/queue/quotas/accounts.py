"""What does one quota hold, against what is guaranteed and allowed to it?

It does not know what is above or beside it.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from penstock_contracts.queue_policy import Quota
from penstock_scheduler.core.queue.quotas.rules import Leaf
from penstock_scheduler.core.shapes import Shape

Key = tuple[int, int, bool, str]
"""(0 = covered by a guarantee, use for its weight, is of no quota, name): the smallest goes
first."""


class Ask(NamedTuple):
    """What a whole job takes, over all its ranks."""

    gpu_milli: int
    cpu_milli: int


def ask_of(shape: Shape) -> Ask:
    """Of what is asked first, or of one alternative."""
    return Ask(shape.ranks * shape.gpus * shape.gpu_milli, shape.ranks * shape.cpu_milli)


class Used(msgspec.Struct):
    """Decayed use in milli x ms, each as of a step of the grid: the last at which what is held of
    it has changed."""

    gpu: int = 0
    cpu: int = 0
    gpu_grid: int = 0
    cpu_grid: int = 0


class Account(msgspec.Struct, eq=False):
    """One quota, or a pool as a whole (`quota` None). What no quota of a pool counts is also held,
    used and waiting in an account of its own, with `is_own`. `share`: use for its weight, as it was
    `compared` last."""

    name: str
    pool: str
    quota: Quota | None
    parent: Account | None
    is_own: bool = False
    held_gpu: int = 0
    held_cpu: int = 0
    waiting_jobs: int = 0
    waiting_gpu: int = 0
    used: Used = msgspec.field(default_factory=Used)
    under: list[Account] = msgspec.field(default_factory=list)
    leaf: Leaf | None = None
    share: int = 0
    compared: int = -1

    @property
    def weight(self) -> int:
        return 1 if self.quota is None else self.quota.weight

    @property
    def guaranteed(self) -> int:
        return 0 if self.quota is None else self.quota.guaranteed_gpu_milli

    @property
    def over(self) -> int:
        """GPU held beyond what is guaranteed."""
        return max(0, self.held_gpu - self.guaranteed)

    def guarantees(self, ask: Ask) -> bool:
        """Whether this, too, would be within its guarantee."""
        return 0 < ask.gpu_milli <= self.guaranteed - self.held_gpu

    def allows(self, ask: Ask) -> bool:
        quota = self.quota
        if quota is None:
            return True
        gpu, cpu = quota.maximum_gpu_milli, quota.maximum_cpu_milli
        return (gpu is None or not ask.gpu_milli or self.held_gpu + ask.gpu_milli <= gpu) and (
            cpu is None or not ask.cpu_milli or self.held_cpu + ask.cpu_milli <= cpu
        )
