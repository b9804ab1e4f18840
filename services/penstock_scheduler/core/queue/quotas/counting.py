"""Do the sums over the tree of quotas hold?

What is held and waits is counted anew from leases and jobs, and compared with what the accounts
say. It does not know who is next.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from penstock_contracts.queries import Finding
from penstock_scheduler.core.queue.quotas.accounts import Account, ask_of
from penstock_scheduler.core.queue.quotas.rules import Leaf

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State

Sums = tuple[int, int, int, int]
"""Milli-GPU and milli-CPU held, jobs and milli-GPU waiting."""


def miscounted(state: State) -> list[Finding]:
    """Every account that says otherwise."""
    sums = _counted(state)
    found = []
    for account in _accounts(state):
        said = (
            account.held_gpu,
            account.held_cpu,
            account.waiting_jobs,
            account.waiting_gpu,
        )
        true = tuple(sums[id(account), at] for at in range(len(said)))
        if said != true:
            what = f"quota {account.name}" if account.quota else f"pool {account.pool}"
            sentence = f"{what} says {said}, but {true} are held (GPU, CPU) and wait (jobs, GPU)"
            found.append(Finding("quota_miscounted", sentence))
    return found


def _counted(state: State) -> Counter[tuple[int, int]]:
    sums: Counter[tuple[int, int]] = Counter()

    def count(leaf: Leaf, amounts: Sums) -> None:
        for account in state.shares.path(leaf):
            for at, amount in enumerate(amounts):
                sums[id(account), at] += amount

    for lease in state.leases.values():
        gpu_milli = lease.gpu_milli * len(lease.uuids)
        count(state.leaf_of(lease.tenant, lease.spec), (gpu_milli, lease.cpu_milli, 0, 0))
    for _, shape in state.line.waiting():
        if shape.leaf is not None:
            count(shape.leaf, (0, 0, 1, ask_of(shape).gpu_milli))
    return sums


def _accounts(state: State) -> list[Account]:
    shares = state.shares
    return [*shares.pools.values(), *shares.own.values(), *shares.quotas.values()]
