"""What did each charge cost the provider, and what did time cost that nobody bought?

A device's day is divided by time: what ran bears its share of what sold time cost, the rest stands
in charges of its own, one for each reason why it was not sold. Together they are what the day cost.
Charges come in the order of devices' days. It does not know where costs come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

import msgspec

from penstock_contracts.exports import Charge
from penstock_contracts.prices import gpu_sku
from penstock_metering.core.allocation import allocate

SOLD = "sold"
PAYOUT = "payout"
Costs = dict[str, int]
"""Micro-currency by component."""


class DeviceDayKey(NamedTuple):
    day: int
    node: str
    device: str


class DayCost(NamedTuple):
    """One device's day in one currency; `idle` by reason, with its milli-GPU·ms."""

    currency: str
    sold: Costs
    idle: Mapping[str, tuple[int, Costs]]
    model: str
    site: str


Payouts = Mapping[tuple[DeviceDayKey, str], Mapping[str, int]]
"""What is owed to the owner of a borrowed host for a tenant's use, by currency."""


def with_costs(
    charges: Iterable[Charge],
    days: Mapping[DeviceDayKey, list[DayCost]],
    payouts: Payouts,
) -> Iterator[Charge]:
    """The same charges with their costs, and those of unsold time behind each device's day."""
    seen = set()
    for key, found in groupby(charges, key=_key):
        group = list(found)
        if key is None or key in seen:
            yield from group
            continue
        seen.add(key)
        costs = days.get(key, [])
        owed = {own.tenant: payouts.get((key, own.tenant), {}) for own in group}
        currency = _currency(costs, owed)
        yield from _bear(group, key, costs, owed, currency)
        yield from _unsold(key, costs)
        yield from _in_other_currencies(key, costs, owed, currency)
    for key in sorted(set(days) - seen):
        yield from _unsold(key, days[key])
        yield from _in_other_currencies(key, days[key], {}, "")


def _key(charge: Charge) -> DeviceDayKey | None:
    if charge.day is None or not charge.node:
        return None
    return DeviceDayKey(charge.day, charge.node, charge.device)


def _currency(costs: list[DayCost], owed: Mapping[str, Mapping[str, int]]) -> str:
    """The one that charges bear their share in; others stand by themselves."""
    known = [own.currency for own in costs]
    known += [currency for by_currency in owed.values() for currency in by_currency]
    return known[0] if known else ""


def _bear(
    group: list[Charge],
    key: DeviceDayKey,
    costs: list[DayCost],
    owed: Mapping[str, Mapping[str, int]],
    currency: str,
) -> Iterator[Charge]:
    ran = [_ran(charge) for charge in group]
    shares: list[Costs] = [{} for _ in group]
    for cost in costs:
        if cost.currency == currency and any(ran):
            for component, micro in cost.sold.items():
                for share, part in zip(shares, allocate(micro, ran), strict=True):
                    if part:
                        share[component] = part
        elif cost.currency == currency and any(cost.sold.values()):
            yield _beside(key, cost, SOLD, 0, cost.sold)
    for tenant, by_currency in owed.items():
        mine = [at for at, charge in enumerate(group) if charge.tenant == tenant]
        weights = [ran[at] for at in mine]
        for at, part in zip(mine, allocate(by_currency.get(currency, 0), weights), strict=True):
            if part:
                shares[at][PAYOUT] = part
    for charge, share in zip(group, shares, strict=True):
        if share:
            yield msgspec.structs.replace(charge, costs=share, cost_currency=currency)
        else:
            yield charge


def _ran(charge: Charge) -> int:
    """Device time of this day that a charge is for."""
    is_time = charge.unit == "gpu_hour" and not charge.corrects
    return max(0, charge.consumed or 0) if is_time else 0


def _unsold(key: DeviceDayKey, costs: list[DayCost]) -> Iterator[Charge]:
    for cost in costs:
        for reason, (milli_ms, micro) in cost.idle.items():
            if milli_ms or any(micro.values()):
                yield _beside(key, cost, reason, milli_ms, micro)


def _in_other_currencies(
    key: DeviceDayKey,
    costs: list[DayCost],
    owed: Mapping[str, Mapping[str, int]],
    currency: str,
) -> Iterator[Charge]:
    for cost in costs:
        if cost.currency != currency and any(cost.sold.values()):
            yield _beside(key, cost, SOLD, 0, cost.sold)
    for tenant, by_currency in owed.items():
        for other, micro in by_currency.items():
            if other != currency:
                plain = DayCost(other, {}, {}, "", "")
                owing = _beside(key, plain, SOLD, 0, {PAYOUT: micro})
                yield msgspec.structs.replace(owing, tenant=tenant)


def _beside(key: DeviceDayKey, cost: DayCost, reason: str, milli_ms: int, micro: Costs) -> Charge:
    return Charge(
        kind="idle",
        currency=cost.currency,
        site=cost.site,
        node=key.node,
        device=key.device,
        model=cost.model,
        sku=gpu_sku(cost.model),
        unit="gpu_hour",
        day=key.day,
        consumed=milli_ms,
        priced=0,
        costs={name: part for name, part in micro.items() if part},
        cost_currency=cost.currency,
        idle=reason,
    )
