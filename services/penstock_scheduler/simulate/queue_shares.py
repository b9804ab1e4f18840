"""How far is what each tenant held from what it should have held?

At every instant the fleet is divided among those who want some of it: first what is guaranteed to
each, then the rest by weight, and nobody is given more than it wants. It does not know who waits
for what, nor how the queue decides.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from penstock_contracts.queue_policy import QueuePolicy


class Shares:
    """`hold` and `wait` in milli-GPU; what is held is wanted too, and counts in `wait` until its
    job has ended."""

    def __init__(self, policy: QueuePolicy, tenants: Collection[str], capacity: int) -> None:
        self._capacity = capacity
        self._weights = dict.fromkeys(sorted(tenants), 1)
        self._guaranteed = dict.fromkeys(sorted(tenants), 0)
        for quota in policy.quotas:
            if quota.tenant in self._weights:
                self._guaranteed[quota.tenant] += quota.guaranteed_gpu_milli
                self._weights[quota.tenant] = max(self._weights[quota.tenant], quota.weight)
        self._held = dict.fromkeys(self._weights, 0)
        self._wanted = dict.fromkeys(self._weights, 0)
        self._off = dict.fromkeys(self._weights, 0.0)
        self._fair = dict.fromkeys(self._weights, 0.0)

    def hold(self, tenant: str, gpu_milli: int) -> None:
        self._held[tenant] += gpu_milli

    def wait(self, tenant: str, gpu_milli: int) -> None:
        self._wanted[tenant] += gpu_milli

    def pass_time(self, ms: int) -> None:
        """Nothing has changed for so long."""
        if ms <= 0 or len(self._weights) < 2:
            return
        fair = divided(self._capacity, self._wanted, self._guaranteed, self._weights)
        for tenant, share in fair.items():
            self._fair[tenant] += share * ms
            self._off[tenant] += (self._held[tenant] - share) * ms

    def errors(self) -> dict[str, float]:
        """By tenant, in percent of what it should have held over all the time; > 0 = it had more.
        Of who wanted nothing, nothing."""
        return {
            tenant: 100 * self._off[tenant] / fair for tenant, fair in self._fair.items() if fair
        }


def divided(
    capacity: int,
    wanted: Mapping[str, int],
    guaranteed: Mapping[str, int],
    weights: Mapping[str, int],
) -> dict[str, float]:
    """What each should have of the capacity."""
    fair = {one: float(min(wanted[one], guaranteed[one])) for one in wanted}
    left = capacity - sum(fair.values())
    hungry = [one for one in wanted if wanted[one] > fair[one]]
    while hungry and left > 0:
        each = left / sum(weights[one] for one in hungry)
        full = [one for one in hungry if wanted[one] - fair[one] <= each * weights[one]]
        if not full:
            for one in hungry:
                fair[one] += each * weights[one]
            break
        for one in full:
            left -= wanted[one] - fair[one]
            fair[one] = float(wanted[one])
        hungry = [one for one in hungry if one not in full]
    return fair
