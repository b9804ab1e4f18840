"""What can running time cost?

At most, of each budget that counts it: GPU time as it is used, money at the dearest price that
holds or is announced. It does not know what is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from penstock_contracts.asks import SITE
from penstock_contracts.budgets import GPU_TIME
from penstock_contracts.journal import RankPlacement
from penstock_contracts.prices import MS_PER_HOUR, PriceVersion, RankShape, bound_micro
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.money.budgets import Budget
from penstock_scheduler.core.placing.placement import Placed
from penstock_scheduler.core.state import Job, Node, Shape

ROUNDING = 1
"""The ledger rounds up what each attempt has cost so far, and by itself what all together have: by
less than this in micro-currency."""


class Charge:
    """Of one job on the places that it has, or is to have."""

    def __init__(
        self,
        ranks: Iterable[RankShape],
        rates: Sequence[PriceVersion],
        tenant: str,
        tier: str,
        from_ms: int,
    ) -> None:
        self._ranks = Counter(ranks)
        self._rates: dict[str, list[PriceVersion]] = {}
        for version in rates:
            if version.tenant in ("", tenant):
                self._rates.setdefault(version.currency, []).append(version)
        self._tenant, self._tier, self._from_ms = tenant, tier, from_ms
        self._milli = sum(len(r.models) * r.gpu_milli * n for r, n in self._ranks.items())
        self._known: dict[tuple[str, int], int] = {}

    def amount(self, budget: Budget, paid_ms: int) -> int:
        """The most that so much running time of every rank costs, in the budget's unit."""
        if budget.state.unit == GPU_TIME:
            return self._milli * paid_ms
        micro = self._micro(budget.state.currency, paid_ms)
        return micro + ROUNDING if micro else 0

    def payable_from(self, stops: Iterable[Budget]) -> bool:
        """Whoever pays in advance pays in the currency of the price."""
        prepaid = {b.state.currency for b in stops if b.state.prepaid}
        if not prepaid:
            return True
        others = sorted(self._rates.keys() - prepaid)
        return not any(self._micro(currency, 1) for currency in others)

    @property
    def rate(self) -> int:
        """What an hour costs, all currencies taken as one: to compare places."""
        return sum(self._micro(currency, MS_PER_HOUR) for currency in self._rates)

    def _micro(self, currency: str, paid_ms: int) -> int:
        key = (currency, paid_ms)
        known = self._known.get(key)
        if known is None:
            versions = self._rates.get(currency, [])
            known = self._known[key] = sum(
                count
                * bound_micro(
                    versions,
                    (rank,),
                    tenant=self._tenant,
                    tier=self._tier,
                    paid_ms=paid_ms,
                    from_ms=self._from_ms,
                )
                for rank, count in self._ranks.items()
            )
        return known


def charge_of_placing(state: State, job: Job, shape: Shape, placed: Placed, now_ns: int) -> Charge:
    """What a job costs where it is about to be placed."""
    taken = (shape, *shape.alternatives)[placed.alternative]
    ranks = []
    for at in placed.ranks:
        node = state.nodes.get(at.node)
        ranks.append(_rank(node, at.devices, taken.gpu_milli, taken.cpu_milli, taken.memory_mib))
    return _charge(state, job, ranks, now_ns)


def charge_of_job(state: State, job: Job, from_ns: int) -> Charge:
    """What a job costs where it is, at prices since that instant."""
    ranks = [
        _rank(
            state.nodes.get(lease.node),
            lease.uuids,
            lease.gpu_milli,
            lease.cpu_milli,
            lease.memory_mib,
        )
        for lease in state.leases_of(job)
    ]
    return _charge(state, job, ranks, from_ns)


def charge_of_cheapest(
    state: State, job: Job, shape: Shape, at: Iterable[tuple[Node, Sequence[int]]], now_ns: int
) -> Charge | None:
    """What a job costs on the cheapest of these: the node and the devices by index of one rank
    each; None = they are too few. `shape`: one of its alternatives."""
    counts: Counter[RankShape] = Counter()
    for node, indices in at:
        uuids = tuple(node.image.devices[index][0] for index in indices)
        counts[_rank(node, uuids, shape.gpu_milli, shape.cpu_milli, shape.memory_mib)] += 1
    charges = {rank: _charge(state, job, [rank], now_ns) for rank in counts}
    ranks: list[RankShape] = []
    for rank in sorted(counts, key=lambda one: charges[one].rate):
        ranks += [rank] * min(counts[rank], shape.ranks - len(ranks))
    return _charge(state, job, ranks, now_ns) if len(ranks) == shape.ranks else None


def charge_anywhere(state: State, job: Job, shape: Shape, now_ns: int) -> Charge:
    """What a job costs on devices of which nothing is known but what it names."""
    model = shape.gpu_models[0] if len(shape.gpu_models) == 1 else ""
    rank = RankShape(
        models=(model,) * shape.gpus,
        gpu_milli=shape.gpu_milli,
        cpu_milli=shape.cpu_milli,
        memory_mib=shape.memory_mib,
    )
    return _charge(state, job, [rank] * shape.ranks, now_ns)


def _charge(state: State, job: Job, ranks: list[RankShape], from_ns: int) -> Charge:
    return Charge(ranks, state.budgets.rates, job.tenant, job.spec.tier, from_ns // 1_000_000)


def _rank(
    node: Node | None, uuids: tuple[str, ...], gpu_milli: int, cpu_milli: int, memory_mib: int
) -> RankShape:
    models = {} if node is None else {uuid: model for uuid, model, _ in node.image.devices}
    return RankShape(
        models=tuple(models.get(uuid, "") for uuid in uuids),
        gpu_milli=gpu_milli,
        cpu_milli=cpu_milli,
        memory_mib=memory_mib,
        site=site_of(node),
    )


def site_of(node: Node | None) -> str:
    return "" if node is None else node.image.labels.get(SITE, "")


def with_site(placement: RankPlacement, nodes: dict[str, Node]) -> RankPlacement:
    """The place with its node's site, where it has one."""
    site = site_of(nodes.get(placement.node))
    if not site:
        return placement
    return RankPlacement(
        placement.rank, placement.node, placement.devices, placement.local_rank, site
    )
