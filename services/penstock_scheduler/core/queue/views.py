"""How do pools and quotas stand, as it is shown?

Answers to questions about the queue, from the state alone. It decides nothing.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec
from msgspec.structs import replace

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_contracts.queries import PAGE_BYTES_MAX
from penstock_contracts.queue_messages import (
    PlaceKeptView,
    PoolView,
    QueueView,
    QuotaView,
)
from penstock_contracts.queue_policy import PolicyVersion, Pool, Quota
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.queue.keeping.places import Place
from penstock_scheduler.core.queue.quotas.shares import Account

KEPT_SHOWN_MAX = 64
"""Places of one pool."""
NODES_SHOWN_MAX = 8
"""Of one place."""

_encode = msgspec.json.Encoder().encode


def policy_view(state: State) -> PolicyVersion:
    """The policy that holds, and since when."""
    return state.rules.held


def queue_view(state: State, seq: int, now_ns: int, after: str = "") -> QueueView:
    """Every pool, and of the quotas behind `after` as many as one message holds."""
    pools = _pool_views(state, now_ns)
    room = PAGE_BYTES_MAX - len(_encode(pools))
    grid = state.shares.grid(now_ns)
    used = {name: _used(state, one, grid) for name, one in state.shares.quotas.items()}
    totals = _Totals(state, used, grid)
    page: list[QuotaView] = []
    for name in sorted(name for name in state.rules.quotas if name > after):
        view = _quota_view(state, state.rules.quotas[name], used[name], totals)
        room -= len(_encode(view))
        if page and room < 0:
            break
        page.append(view)
    else:
        return QueueView(seq=seq, version=state.rules.version, pools=pools, quotas=tuple(page))
    return QueueView(
        seq=seq, version=state.rules.version, pools=pools, quotas=tuple(page), more=True
    )


# -- pools
class _Room(msgspec.Struct):
    """What the nodes of a pool have together. Devices that are known to be broken are left out."""

    nodes: int = 0
    nodes_open: int = 0
    gpu_milli: int = 0
    cpu_milli: int = 0


def _pool_views(state: State, now_ns: int) -> tuple[PoolView, ...]:
    rooms: dict[str, _Room] = defaultdict(_Room)
    for node in state.nodes.values():
        room = rooms[node.pool]
        room.nodes += 1
        room.nodes_open += node.schedulable
        healthy = sum(uuid not in node.image.unhealthy for uuid, _, _ in node.image.devices)
        room.gpu_milli += GPU_MILLI_WHOLE * healthy
        room.cpu_milli += node.image.cpu_milli
    places: dict[str, list[Place]] = defaultdict(list)
    for place in state.places:
        job = state.jobs[place.fact.job_id]
        places[state.rules.pool_named(job.spec.pool).name].append(place)
    return tuple(
        replace(
            _pool_view(state, pool, rooms[pool.name], places[pool.name]),
            head=_head_of(state, pool.name, now_ns),
        )
        for pool in state.rules.pools
    )


def _head_of(state: State, pool: str, now_ns: int) -> str:
    """The job that others wait for, else the one that is next when there is room."""
    stopped_by = state.line.turns.stopped_by(pool)
    if stopped_by is not None:
        return stopped_by
    return next((job_id for job_id, _ in state.line.in_order(pool, now_ns)), "")


def _pool_view(state: State, pool: Pool, room: _Room, places: list[Place]) -> PoolView:
    account, own = state.shares.pools[pool.name], state.shares.own[pool.name]
    shown = places[:KEPT_SHOWN_MAX]
    return PoolView(
        name=pool.name,
        order=pool.order,
        backfill=pool.backfill,
        preempt=pool.preempt,
        nodes=room.nodes,
        nodes_open=room.nodes_open,
        gpu_milli=room.gpu_milli,
        gpu_milli_held=account.held_gpu,
        cpu_milli=room.cpu_milli,
        cpu_milli_held=account.held_cpu,
        waiting_jobs=account.waiting_jobs,
        waiting_gpu_milli=account.waiting_gpu,
        held_up=state.line.turns.stopped_by(pool.name) is not None,
        kept=tuple(_kept_view(state, place) for place in shown),
        kept_more=len(places) - len(shown),
        own_gpu_milli_held=own.held_gpu,
        own_waiting_jobs=own.waiting_jobs,
    )


def _kept_view(state: State, place: Place) -> PlaceKeptView:
    nodes = sorted(place.nodes)
    devices = sum(len(rank.devices) for rank in place.fact.ranks)
    return PlaceKeptView(
        job_id=place.fact.job_id,
        tenant=state.jobs[place.fact.job_id].tenant,
        cause=place.fact.cause,
        at_ms=place.fact.at_ms,
        gpu_milli=devices * place.shape.gpu_milli,
        nodes=tuple(nodes[:NODES_SHOWN_MAX]),
        nodes_more=max(0, len(nodes) - NODES_SHOWN_MAX),
    )


# -- quotas
class _Totals:
    """Of everybody directly below the same quota or pool: use and weights together. What no quota
    counts is one more below its pool, while it has jobs."""

    def __init__(self, state: State, used: dict[str, int], grid: int) -> None:
        self.used: dict[int, int] = defaultdict(int)
        self.weight: dict[int, int] = defaultdict(int)
        for name, account in state.shares.quotas.items():
            self._add(account, used[name])
        for own in state.shares.own.values():
            mine = _used(state, own, grid)
            if mine or own.waiting_jobs:
                self._add(own, mine)

    def _add(self, account: Account, used: int) -> None:
        self.used[id(account.parent)] += used
        self.weight[id(account.parent)] += account.weight

    def share_milli(self, account: Account, used: int) -> int | None:
        total = self.used[id(account.parent)]
        return (used * 1_000 + total // 2) // total if total else None

    def fair_milli(self, account: Account) -> int:
        total = self.weight[id(account.parent)]
        return (account.weight * 1_000 + total // 2) // total


def _quota_view(state: State, quota: Quota, used: int, totals: _Totals) -> QuotaView:
    account = state.shares.quotas[quota.name]
    missing = max(0, quota.guaranteed_gpu_milli - account.held_gpu)
    return QuotaView(
        name=quota.name,
        parent=quota.parent,
        pool=state.rules.pool_of_quota[quota.name],
        tenant=quota.tenant,
        project=quota.project,
        guaranteed_gpu_milli=quota.guaranteed_gpu_milli,
        maximum_gpu_milli=quota.maximum_gpu_milli,
        maximum_cpu_milli=quota.maximum_cpu_milli,
        weight=quota.weight,
        held_gpu_milli=account.held_gpu,
        held_cpu_milli=account.held_cpu,
        waiting_jobs=account.waiting_jobs,
        waiting_gpu_milli=account.waiting_gpu,
        used_milli_s=used // 1_000,
        share_milli=totals.share_milli(account, used),
        fair_milli=totals.fair_milli(account),
        over_milli=account.over,
        owed_milli=min(missing, account.waiting_gpu),
    )


def _used(state: State, account: Account, grid: int) -> int:
    """Decayed use of what it uses most of its pool, in milli-GPU x ms; where there are no GPUs, in
    milli-cores x ms."""
    gpu, cpu = state.shares.used_at(account, grid)
    gpu_size, cpu_size = state.shares.sizes[account.pool]
    if not gpu_size:
        return cpu
    return max(gpu, cpu * gpu_size // cpu_size) if cpu_size else gpu
