"""What is wrong with a policy of the queue?

Every rule that types cannot state, each fault with a code, a sentence and its place; a policy
without faults can be obeyed, and each of its limits can refuse something. It does not know which
nodes there are, save by what it is told, nor in which file the policy stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from penstock_contracts.bounds import CONTROL
from penstock_contracts.queue_policy import (
    DEFAULT_POOL,
    QUOTA_DEPTH_MAX,
    PolicyFault,
    Pool,
    QueuePolicy,
    Quota,
    Reservation,
    home_pool,
)
from penstock_contracts.reservation_faults import reservation_faults

POLICY_BYTES_MAX = 512 * 1024
"""Of JSON: it is one fact of one entry of the journal, which a broker takes up to 1 MiB."""
POLICY_RULES = (
    "name_repeated",
    "pool_without_nodes",
    "unknown_pool",
    "unknown_parent",
    "quota_cycle",
    "quota_too_deep",
    "other_pool",
    "parent_of_tenant",
    "counted_twice",
    "project_without_tenant",
    "guarantee_over_maximum",
    "guarantees_over_parent",
    "maximum_over_parent",
    "ends_before_start",
    "reserves_nothing",
    "reservations_overlap",
    "policy_too_large",
)
"""Codes of the faults there can be, beside `invalid_field`."""
LIMITS = {
    "maximum_gpu_milli": "maximum of GPUs",
    "maximum_cpu_milli": "maximum of cores",
    "queued_max": "number of jobs that may wait",
}

_encode = msgspec.json.Encoder().encode


def policy_faults(
    policy: QueuePolicy, node_labels: Mapping[str, Mapping[str, str]] | None = None
) -> tuple[PolicyFault, ...]:
    """All that is wrong, in the order of the policy; empty when it can be obeyed.

    `node_labels`: of the nodes that are known, to tell whether a reservation of named nodes and
    one of labels meet.
    """
    size = len(_encode(policy))
    if size > POLICY_BYTES_MAX:
        sentence = f"the policy has {size} bytes as JSON; at most {POLICY_BYTES_MAX} are taken"
        return (PolicyFault("policy_too_large", sentence, "", 0),)
    return (
        *_repeated("pools", policy.pools),
        *_pool_faults(policy.pools),
        *_repeated("quotas", policy.quotas),
        *_Quotas(policy).faults(),
        *_repeated("reservations", policy.reservations),
        *reservation_faults(policy.reservations, node_labels or {}),
    )


def pools_of_quotas(policy: QueuePolicy) -> dict[str, str]:
    """Every quota's pool: the one it names, else its parent's, else that of jobs naming none."""
    by_name = {quota.name: quota for quota in policy.quotas}
    home = home_pool(policy.pools)
    found: dict[str, str] = {}
    for quota in policy.quotas:
        path: dict[str, None] = {}
        top: Quota | None = quota
        while top is not None and not top.pool and top.name not in found and top.name not in path:
            path[top.name] = None
            top = by_name.get(top.parent)
        pool = home if top is None else found.get(top.name) or top.pool or home
        found.update(dict.fromkeys((*path, quota.name), pool))
    return found


def _repeated(part: str, entries: Sequence[Pool | Quota | Reservation]) -> Iterator[PolicyFault]:
    """A fault for every entry that has the name of one before it."""
    seen: dict[str, int] = {}
    for index, entry in enumerate(entries):
        before = seen.setdefault(entry.name, index)
        if before != index:
            sentence = f"{entry.name} is the name of entry {before + 1} of {part} already"
            yield PolicyFault("name_repeated", sentence, part, index, "name")


def _pool_faults(pools: tuple[Pool, ...]) -> Iterator[PolicyFault]:
    for index, pool in enumerate(pools):
        wanted = pool.node_labels.items()
        if any(CONTROL.search(text) for label in wanted for text in label):
            sentence = f"pool {pool.name}: node_labels must not contain control characters"
            yield PolicyFault("invalid_field", sentence, "pools", index, "node_labels")
        taken = next((one for one in pools[:index] if one.node_labels.items() <= wanted), None)
        if taken is not None:
            sentence = (
                f"pool {pool.name} gets no node: each that has its labels goes to pool "
                f"{taken.name} before it; put the one with more labels first"
            )
            yield PolicyFault("pool_without_nodes", sentence, "pools", index, "node_labels")


class _Quotas:
    """The tree, as far as it is one. What hangs on a fault is not told as further faults."""

    def __init__(self, policy: QueuePolicy) -> None:
        self._quotas = policy.quotas
        self._by_name: dict[str, Quota] = {}
        for quota in policy.quotas:
            self._by_name.setdefault(quota.name, quota)
        self._pools = {pool.name for pool in policy.pools} or {DEFAULT_POOL}
        self._pool_of = pools_of_quotas(policy)
        self._children: dict[str, list[Quota]] = {}
        for quota in policy.quotas:
            if quota.parent:
                self._children.setdefault(quota.parent, []).append(quota)
        self._circles = self._find_circles()
        self._circling = {name for circle in self._circles.values() for name in circle}

    def _find_circles(self) -> dict[str, list[str]]:
        """By the quota of each circle that stands first: all of it, upward."""
        found: dict[str, list[str]] = {}
        begun: dict[str, str] = {}
        place = {name: index for index, name in enumerate(self._by_name)}
        for start in self._by_name:
            path: list[str] = []
            name = start
            while name in self._by_name and name not in begun:
                begun[name] = start
                path.append(name)
                name = self._by_name[name].parent
            if begun.get(name) == start:
                circle = path[path.index(name) :]
                first = circle.index(min(circle, key=place.__getitem__))
                found[circle[first]] = circle[first:] + circle[:first]
        return found

    def faults(self) -> Iterator[PolicyFault]:
        counted: dict[tuple[str, str, str], str] = {}
        given: dict[str, int] = {}
        for index, quota in enumerate(self._quotas):
            yield from self._about(index, quota, "parent", self._place(quota))
            yield from self._about(index, quota, "tenant", self._counting(quota, counted))
            if quota.project and not quota.tenant:
                rule = "project_without_tenant", f"whose project {quota.project} is is not said"
                yield from self._about(index, quota, "tenant", rule)
            yield from self._guarantee(index, quota, given)
            yield from self._maxima(index, quota)

    def _about(
        self, index: int, quota: Quota, field: str, rule: tuple[str, ...] | None
    ) -> Iterator[PolicyFault]:
        """`rule`: a code and a sentence, and the field where it is another."""
        if rule is not None:
            sentence = f"quota {quota.name}: {rule[1]}"
            at = rule[2] if len(rule) > 2 else field
            yield PolicyFault(rule[0], sentence, "quotas", index, at)

    def _place(self, quota: Quota) -> tuple[str, ...] | None:
        """What is wrong with where it hangs."""
        if quota.pool and quota.pool not in self._pools:
            known = ", ".join(sorted(self._pools)[:8])
            return "unknown_pool", f"there is no pool {quota.pool}; there are: {known}", "pool"
        if not quota.parent:
            return None
        above = self._by_name.get(quota.parent)
        if above is None:
            return "unknown_parent", f"there is no quota {quota.parent} to be its parent"
        if quota.pool and quota.pool != self._pool_of[above.name]:
            sentence = f"it is in pool {quota.pool}, its parent in {self._pool_of[above.name]}"
            return "other_pool", sentence, "pool"
        if quota.name in self._circles:
            circle = " → ".join((*self._circles[quota.name], quota.name))
            return "quota_cycle", f"it is below itself: {circle}"
        if len(self._above(quota)) >= QUOTA_DEPTH_MAX and not self._circles:
            return "quota_too_deep", f"more than {QUOTA_DEPTH_MAX} levels are above one another"
        return None

    def _above(self, quota: Quota) -> list[Quota]:
        """All above it, upward, as far as a tree may be deep."""
        path: list[Quota] = []
        above = self._by_name.get(quota.parent)
        while above is not None and len(path) < QUOTA_DEPTH_MAX:
            path.append(above)
            above = self._by_name.get(above.parent)
        return path

    def _counting(
        self, quota: Quota, counted: dict[tuple[str, str, str], str]
    ) -> tuple[str, ...] | None:
        """What is wrong with the jobs that count there."""
        below = self._children.get(quota.name)
        if not quota.tenant:
            return None
        if below:
            sentence = (
                f"it counts jobs of {quota.tenant} itself, so none may be below it, as "
                f"{below[0].name} is; count them in one more quota below it"
            )
            return "parent_of_tenant", sentence
        jobs = (self._pool_of[quota.name], quota.tenant, quota.project)
        if jobs in counted and counted[jobs] != quota.name:
            whose = f"{quota.tenant}/{quota.project}" if quota.project else quota.tenant
            return "counted_twice", f"jobs of {whose} are counted in {counted[jobs]} already"
        counted[jobs] = quota.name
        return None

    def _guarantee(self, index: int, quota: Quota, given: dict[str, int]) -> Iterator[PolicyFault]:
        """`given`: what the children before it are guaranteed, by parent."""
        field, mine = "guaranteed_gpu_milli", quota.guaranteed_gpu_milli
        if quota.maximum_gpu_milli is not None and mine > quota.maximum_gpu_milli:
            sentence = (
                f"{_units(mine)} GPUs are guaranteed, its maximum is "
                f"{_units(quota.maximum_gpu_milli)}"
            )
            yield from self._about(index, quota, field, ("guarantee_over_maximum", sentence))
        above = self._by_name.get(quota.parent)
        if above is None or not mine or quota.name in self._circling:
            return
        before = given.get(above.name, 0)
        given[above.name] = before + mine
        if before <= above.guaranteed_gpu_milli < before + mine:
            sentence = (
                f"with it {_units(before + mine)} GPUs are guaranteed below {above.name}, which is "
                f"guaranteed {_units(above.guaranteed_gpu_milli)}"
            )
            yield from self._about(index, quota, field, ("guarantees_over_parent", sentence))

    def _maxima(self, index: int, quota: Quota) -> Iterator[PolicyFault]:
        """A limit over one above it would never be the one that refuses."""
        for field, words in LIMITS.items():
            mine = getattr(quota, field)
            if mine is None:
                continue
            for above in self._above(quota):
                bound = getattr(above, field)
                if bound is not None and mine > bound:
                    told = str if field == "queued_max" else _units
                    sentence = f"its {words}, {told(mine)}, is over that of {above.name}"
                    sentence += f", {told(bound)}"
                    rule = "maximum_over_parent", sentence
                    yield from self._about(index, quota, field, rule)
                    break


def _units(milli: int) -> str:
    """GPUs or cores, down to thousandths."""
    return f"{milli / 1_000:.3f}".rstrip("0").rstrip(".")
