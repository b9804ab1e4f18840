"""Which pool is a node in, and in whose quota does a job count?

The policy that holds, as questions about it. A job that no quota names counts for its pool alone;
one whose pool is no more counts in that of jobs which name none. It does not know what is held.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from penstock_contracts.jobs import JobSpec
from penstock_contracts.queue_faults import pools_of_quotas
from penstock_contracts.queue_policy import (
    DEFAULT_POOL,
    PolicyVersion,
    Pool,
    QueuePolicy,
    Quota,
    home_pool,
)

SPOT = "spot"
CLAIM_NONE = -1
UNSET = PolicyVersion(0, QueuePolicy())
KEYS_MAX = 64
"""So many commands are known again."""
LEAVES_KNOWN_MAX = 100_000
"""Of so many (pool, tenant, project) it is remembered where they count."""


class Leaf(msgspec.Struct, frozen=True, cache_hash=True):
    """Where a job counts: a quota without others below it; "" = none names it, the pool itself."""

    pool: str
    quota: str = ""


class Rules:
    """`keys`: the commands that set this and those before it, newest last. `is_plain`: one pool of
    all nodes, and no quotas."""

    def __init__(self, held: PolicyVersion = UNSET, keys: tuple[str, ...] = ()) -> None:
        policy = held.policy
        self.held = held
        self.keys = keys[-KEYS_MAX:]
        self.pools: tuple[Pool, ...] = policy.pools or (Pool(name=DEFAULT_POOL),)
        self.quotas: dict[str, Quota] = {quota.name: quota for quota in policy.quotas}
        self.pool_of_quota: dict[str, str] = pools_of_quotas(policy)
        self.is_plain = not policy.quotas and len(self.pools) == 1 and not _labels(self.pools[0])
        self._by_name = {pool.name: pool for pool in self.pools}
        self._home = home_pool(self.pools)
        self._counting = {
            (self.pool_of_quota[quota.name], quota.tenant, quota.project): Leaf(
                self.pool_of_quota[quota.name], quota.name
            )
            for quota in policy.quotas
            if quota.tenant
        }
        self._own = {pool.name: Leaf(pool.name) for pool in self.pools}
        self._leaves: dict[tuple[str, str, str], Leaf] = {}
        self._only = self._own[self.pools[0].name] if self.is_plain else None
        self._classes_claim = any(pool.preempt == "all" for pool in self.pools)

    @property
    def policy(self) -> QueuePolicy:
        return self.held.policy

    @property
    def version(self) -> int:
        return self.held.version

    def pool_of(self, labels: Mapping[str, str]) -> Pool | None:
        """The pool of a node with these labels: the first that asks for no others; None = none
        takes it, and nothing is placed there."""
        for pool in self.pools:
            if all(labels.get(name) == value for name, value in pool.node_labels.items()):
                return pool
        return None

    def knows_pool(self, name: str) -> bool:
        return not name or name in self._by_name

    def pool_named(self, name: str) -> Pool:
        """The pool a job names; for "" and for one that is no more, that of jobs naming none."""
        return self._by_name.get(name) or self._by_name[self._home]

    def leaf_of(self, pool: str, tenant: str, project: str) -> Leaf:
        """Where a job counts: its project's quota, else its tenant's, else the pool itself."""
        if self._only is not None:
            return self._only
        key = (pool, tenant, project)
        leaf = self._leaves.get(key)
        if leaf is None:
            name = self.pool_named(pool).name
            found = self._counting.get((name, tenant, project)) if project else None
            leaf = found or self._counting.get((name, tenant, "")) or self._own[name]
            if len(self._leaves) >= LEAVES_KNOWN_MAX:
                self._leaves.clear()
            self._leaves[key] = leaf
        return leaf

    def claim_of(self, spec: JobSpec) -> int:
        """Whom a job may have yield; see `Shape.claim`."""
        if spec.tier == SPOT:
            return CLAIM_NONE
        if not self._classes_claim:
            return 0
        return spec.priority + 1 if self.pool_named(spec.pool).preempt == "all" else 0

    def path(self, leaf: Leaf) -> tuple[Quota, ...]:
        """The quotas in which it counts, from the leaf upwards."""
        found: list[Quota] = []
        quota = self.quotas.get(leaf.quota)
        while quota is not None and len(found) <= len(self.quotas):
            found.append(quota)
            quota = self.quotas.get(quota.parent)
        return tuple(found)


def _labels(pool: Pool) -> bool:
    return bool(pool.node_labels)
