"""How are pools, quotas and kept places shown in a terminal?

It does not know who asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from penstock_client.commands.tables import print_table

if TYPE_CHECKING:
    from penstock_contracts.queue_messages import PlaceKeptView, PoolView, QuotaView

NONE = "-"
POOL_HEADINGS = (
    "POOL", "ORDER", "BACKFILL", "PREEMPT", "NODES", "OPEN", "GPUS", "HELD", "WAITING",
    "GPUS WANTED", "FIRST",
)  # fmt: skip
QUOTA_HEADINGS = (
    "QUOTA", "POOL", "JOBS OF", "GUARANTEED", "MAXIMUM", "HELD", "STANDING", "WAITING",
    "GPUS WANTED", "WEIGHT", "SHARE", "FAIR",
)  # fmt: skip
KEPT_HEADINGS = ("KEPT FOR", "TENANT", "POOL", "GPUS", "FROM", "BY", "NODES")
INDENT = "  "


def print_pools(pools: Sequence[PoolView]) -> None:
    rows = [
        (
            one.name,
            one.order,
            one.backfill,
            one.preempt,
            str(one.nodes),
            str(one.nodes_open),
            _gpus(one.gpu_milli),
            _gpus(one.gpu_milli_held),
            str(one.waiting_jobs),
            _gpus(one.waiting_gpu_milli),
            f"{one.head} holds up the others" if one.held_up else one.head or NONE,
        )
        for one in pools
    ]
    print_table(POOL_HEADINGS, rows, "there is no pool")


def print_quotas(quotas: Sequence[QuotaView]) -> None:
    """As the tree they are, each below its parent."""
    rows = [
        (
            INDENT * depth + one.name,
            one.pool,
            _whose(one),
            _gpus(one.guaranteed_gpu_milli),
            NONE if one.maximum_gpu_milli is None else _gpus(one.maximum_gpu_milli),
            _gpus(one.held_gpu_milli),
            _standing(one),
            str(one.waiting_jobs),
            _gpus(one.waiting_gpu_milli),
            str(one.weight),
            _percent(one.share_milli),
            _percent(one.fair_milli),
        )
        for depth, one in in_tree(quotas)
    ]
    print_table(QUOTA_HEADINGS, rows, "there is no quota: whoever is next takes what is free")


def print_kept(pools: Iterable[PoolView]) -> None:
    """Places that are kept for jobs."""
    rows = [_kept(pool.name, one) for pool in pools for one in pool.kept]
    print_table(KEPT_HEADINGS, rows, "no place is kept for anybody")


def in_tree(quotas: Sequence[QuotaView]) -> Iterator[tuple[int, QuotaView]]:
    """Each with how deep it is, children behind their parent; one whose parent is not among them
    stands on top."""
    names = {one.name for one in quotas}
    below: dict[str, list[QuotaView]] = {}
    for one in quotas:
        below.setdefault(one.parent if one.parent in names else "", []).append(one)
    left = [(0, one) for one in reversed(below.get("", []))]
    while left:
        depth, one = left.pop()
        yield depth, one
        left += [(depth + 1, child) for child in reversed(below.get(one.name, []))]


def _standing(one: QuotaView) -> str:
    """Who is over, and who under what is guaranteed and wanted."""
    if one.owed_milli:
        return f"{_gpus(one.owed_milli)} owed"
    return f"{_gpus(one.over_milli)} over" if one.over_milli else NONE


def _whose(one: QuotaView) -> str:
    return f"{one.tenant}/{one.project}" if one.project else one.tenant or NONE


def _kept(pool: str, one: PlaceKeptView) -> tuple[str, ...]:
    from penstock_client.durations import format_instant

    more = f" and {one.nodes_more} more" if one.nodes_more else ""
    return (
        one.job_id,
        one.tenant,
        pool,
        _gpus(one.gpu_milli),
        format_instant(one.at_ms),
        one.cause,
        " ".join(one.nodes) + more,
    )


def _gpus(milli: int) -> str:
    return f"{milli / 1_000:.3f}".rstrip("0").rstrip(".")


def _percent(milli: int | None) -> str:
    return NONE if milli is None else f"{milli / 10:.1f} %"
