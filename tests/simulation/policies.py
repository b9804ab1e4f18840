"""Which policies does whoever runs the queue think of?

Pools by the hosts' labels, quotas of the tenants, times for which hosts are set aside: drawn so
that they hold together, or so that they contradict themselves. It does not know when one is set.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from penstock_contracts.queue_policy import Pool, QueuePolicy, Quota, Reservation, home_pool
from tests.simulation.purses import PROJECTS
from tests.simulation.terrain import DISKS, RACKS, SITES

GUARANTEES = (0, 0, 1_000, 2_000, 4_000, 8_000)
MAXIMA = (None, None, None, 500, 1_000, 4_000, 16_000)
PLAIN_SHARE = 0.25
"""Of policies with one pool of all nodes."""
QUOTA_SHARE = 0.7
RESERVED_NODES_MAX = 4
SECOND_MS = 1_000

Places = Sequence[tuple[dict[str, str], str]]
_PLACES: tuple[Places, ...] = (
    (({"disk": DISKS[0]}, "fast"), ({}, "default")),
    (({"site": SITES[0]}, "north"), ({}, "rest")),
    (({"site": SITES[1], "rack": RACKS[0]}, "corner"), ({"disk": DISKS[1]}, "slow"), ({}, "rest")),
)


def draw_policy(
    rng: random.Random, tenants: Sequence[str], nodes: Sequence[str], now_ms: int
) -> QueuePolicy:
    """One that is in order."""
    places: Places = (({}, "main"),) if rng.random() < PLAIN_SHARE else rng.choice(_PLACES)
    pools = tuple(_draw_pool(rng, name, labels) for labels, name in places)
    home = home_pool(pools)
    quotas = tuple(
        quota
        for pool in pools
        if rng.random() < QUOTA_SHARE
        for quota in _draw_tree(rng, pool.name, tenants, at_home=pool.name == home)
    )
    return QueuePolicy(
        pools=pools,
        quotas=quotas,
        reservations=draw_reservations(rng, tenants, nodes, now_ms),
        half_life_s=rng.choice((60, 900, 86_400)),
        predicts=rng.random() < 0.8,
    )


def _draw_pool(rng: random.Random, name: str, labels: dict[str, str]) -> Pool:
    return Pool(
        name=name,
        node_labels=labels,
        order=rng.choice(("fifo", "skip", "hold", "tiered", "tiered")),
        backfill=rng.choice(("none", "easy", "easy", "conservative")),
        preempt=rng.choice(("none", "reclaim", "reclaim", "all")),
        hold_s=rng.choice((5, 60, 300)),
        aging_s=rng.choice((10, 300, 3_600)),
    )


def _draw_tree(
    rng: random.Random, pool: str, tenants: Sequence[str], *, at_home: bool
) -> list[Quota]:
    """Some tenants' quotas below none, or below one of an organisation. Of the pool that jobs
    need not name quotas need not say where they are."""
    leaves: list[Quota] = []
    for tenant in tenants:
        kind = rng.random()
        projects = ("",) if kind < 0.6 else (PROJECTS[0],) if kind < 0.7 else ("", *PROJECTS)
        if kind < 0.85:
            leaves += [_draw_leaf(rng, pool, tenant, project) for project in projects]
    if not leaves or rng.random() < 0.4:
        return [replace(leaf, pool="" if at_home else pool) for leaf in leaves]
    name = f"{pool}-org"
    maxima = [leaf.maximum_gpu_milli or 0 for leaf in leaves]
    held = sum(leaf.guaranteed_gpu_milli for leaf in leaves)
    above = Quota(
        name=name,
        pool=pool,
        guaranteed_gpu_milli=held + rng.choice((0, 0, 2_000)),
        maximum_gpu_milli=rng.choice((None, None, max(16_000, held + 2_000, *maxima))),
        weight=rng.choice((1, 3)),
    )
    return [above, *(replace(leaf, parent=name, pool="") for leaf in leaves)]


def _draw_leaf(rng: random.Random, pool: str, tenant: str, project: str) -> Quota:
    guaranteed, maximum = rng.choice(GUARANTEES), rng.choice(MAXIMA)
    if maximum is not None and rng.random() < 0.9:
        guaranteed = min(guaranteed, maximum)
    return Quota(
        name="-".join(part for part in (pool, tenant, project) if part),
        pool=pool,
        tenant=tenant,
        project=project,
        guaranteed_gpu_milli=min(guaranteed, maximum or guaranteed),
        maximum_gpu_milli=maximum,
        maximum_cpu_milli=rng.choice((None,) * 6 + (2_000, 8_000)),
        queued_max=rng.choice((None,) * 8 + (0, 3, 12)),
        weight=rng.choice((1, 1, 2, 10)),
    )


def draw_reservations(
    rng: random.Random, tenants: Sequence[str], nodes: Sequence[str], now_ms: int
) -> tuple[Reservation, ...]:
    """Some hosts now or soon, one after the other; or all of a rack."""
    found = []
    begin_ms = now_ms + rng.choice((-5, 5, 60, 400)) * SECOND_MS
    for number in range(rng.choice((0, 0, 1, 1, 3))):
        end_ms = begin_ms + rng.choice((30, 150, 600)) * SECOND_MS
        by_label = rng.random() < 0.2
        count = rng.randint(1, min(RESERVED_NODES_MAX, len(nodes)))
        tenant = rng.choice(("", *tenants))
        found.append(
            Reservation(
                name=f"r{number}-{begin_ms % 1_000_000_000}",
                start_ms=begin_ms,
                end_ms=end_ms,
                nodes=() if by_label else tuple(sorted(rng.sample(list(nodes), count))),
                node_labels={"rack": rng.choice(RACKS)} if by_label else {},
                tenant=tenant,
                project=rng.choice(("", "", PROJECTS[0])) if tenant else "",
                reason="as it was drawn",
            )
        )
        begin_ms = end_ms + rng.choice((0, 60)) * SECOND_MS
    return tuple(found)


def change_policy(
    rng: random.Random,
    policy: QueuePolicy,
    tenants: Sequence[str],
    nodes: Sequence[str],
    now_ms: int,
) -> QueuePolicy:
    """What an operator makes of the one that holds: one thing else, or all anew."""
    kind = rng.random()
    if kind < 0.25 or not policy.pools:
        return draw_policy(rng, tenants, nodes, now_ms)
    if kind < 0.5:
        return replace(policy, reservations=draw_reservations(rng, tenants, nodes, now_ms))
    if kind < 0.7:
        pools = list(policy.pools)
        place = rng.randrange(len(pools))
        pools[place] = _draw_pool(rng, pools[place].name, pools[place].node_labels)
        return replace(policy, pools=tuple(pools))
    if kind < 0.8:
        return replace(policy, quotas=())
    lowered = [
        replace(quota, maximum_gpu_milli=None, maximum_cpu_milli=None, weight=rng.choice((1, 5)))
        for quota in policy.quotas
    ]
    return replace(policy, quotas=tuple(lowered))


def spoil(rng: random.Random, policy: QueuePolicy) -> QueuePolicy:
    """The policy with something in it that must be refused."""
    return rng.choice(_FAULTS)(policy)


def _of_nobody(policy: QueuePolicy, **fields: str) -> QueuePolicy:
    """With one quota more."""
    return replace(policy, quotas=(*policy.quotas, Quota(name="zed", tenant="zed", **fields)))


def _in_a_circle(policy: QueuePolicy) -> QueuePolicy:
    circle = (Quota(name="y", parent="z"), Quota(name="z", parent="y"))
    return replace(policy, quotas=(*policy.quotas, *circle))


def _over_its_parent(policy: QueuePolicy) -> QueuePolicy:
    above = Quota(name="y", guaranteed_gpu_milli=1_000)
    below = Quota(name="z", parent="y", tenant="zed", guaranteed_gpu_milli=1_001)
    return replace(policy, quotas=(*policy.quotas, above, below))


def _at_the_same_time(policy: QueuePolicy) -> QueuePolicy:
    both = [
        Reservation(name=f"same-{n}", start_ms=1_000 + n, end_ms=9_000, nodes=("node-00",))
        for n in range(2)
    ]
    return replace(policy, reservations=tuple(both))


def _backwards(policy: QueuePolicy) -> QueuePolicy:
    wrong = Reservation(name="wrong", start_ms=9_000, end_ms=9_000, nodes=("node-00",))
    return replace(policy, reservations=(wrong,))


def _never_reached(policy: QueuePolicy) -> QueuePolicy:
    every, more = Pool(name="every"), Pool(name="more", node_labels={"disk": "fast"})
    return QueuePolicy(pools=(every, more))


_FAULTS: tuple[Callable[[QueuePolicy], QueuePolicy], ...] = (
    lambda policy: _of_nobody(policy, pool="nowhere"),
    lambda policy: _of_nobody(policy, parent="nobody"),
    lambda policy: replace(policy, pools=(*policy.pools, Pool(name="x"), Pool(name="x"))),
    lambda policy: replace(_of_nobody(policy), quotas=(Quota(name="zed", weight=0),)),
    _in_a_circle,
    _over_its_parent,
    _at_the_same_time,
    _backwards,
    _never_reached,
)
