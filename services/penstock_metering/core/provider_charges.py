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


class Owed(NamedTuple):
    """To the owner of a borrowed host, for one tenant's use of a device in the month: `micro` of
    `currency`, for `ran` milli-GPU·ms."""

    currency: str
    micro: int
    ran: int


class DeviceOf(NamedTuple):
    """Whose use of which device."""

    tenant: str
    node: str
    device: str


Payouts = Mapping[DeviceOf, Iterable[Owed]]


def with_costs(
    charges: Iterable[Charge],
    days: Mapping[DeviceDayKey, list[DayCost]],
    payouts: Payouts,
) -> Iterator[Charge]:
    """The same charges with their costs, and those of unsold time behind each device's day."""
    seen = set()
    owed = _Owing(payouts)
    for key, found in groupby(charges, key=_key):
        group = list(found)
        if key is None or key in seen:
            yield from group
            continue
        seen.add(key)
        costs = days.get(key, [])
        currency = _currency(group, costs)
        yield from _bear(group, key, costs, owed, currency)
        yield from _unsold(key, costs)
        yield from _sold_in_other_currencies(key, costs, currency)
    for key in sorted(set(days) - seen):
        yield from _unsold(key, days[key])
        yield from _sold_in_other_currencies(key, days[key], "")
    yield from owed.rest()


class _Owing:
    """Deals payouts out along use."""

    def __init__(self, payouts: Payouts) -> None:
        self._owed = {key: list(owed) for key, owed in payouts.items()}
        self._ran = dict.fromkeys(self._owed, 0)
        self._given: dict[tuple[DeviceOf, str], int] = {}

    def part(self, charge: Charge, ran: int, currency: str) -> int:
        """Of what is owed in that currency, for use that ran so long."""
        key = DeviceOf(charge.tenant, charge.node, charge.device)
        if not ran or key not in self._owed:
            return 0
        self._ran[key] += ran
        dealt = 0
        for owed in self._owed[key]:
            if owed.currency == currency and owed.ran:
                whole = owed.micro * min(self._ran[key], owed.ran) // owed.ran
                dealt += whole - self._given.get((key, currency), 0)
                self._given[key, currency] = whole
        return dealt

    def rest(self) -> Iterator[Charge]:
        """What is owed beside what ran, or in another currency than the use was billed in."""
        for key, found in self._owed.items():
            for owed in found:
                micro = owed.micro - self._given.get((key, owed.currency), 0)
                if micro:
                    place = DeviceDayKey(0, key.node, key.device)
                    beside = _beside(place, _plain(owed.currency), SOLD, 0, {PAYOUT: micro})
                    yield msgspec.structs.replace(beside, tenant=key.tenant, day=None)


def _plain(currency: str) -> DayCost:
    return DayCost(currency, {}, {}, "", "")


def _key(charge: Charge) -> DeviceDayKey | None:
    if charge.day is None or not charge.node:
        return None
    return DeviceDayKey(charge.day, charge.node, charge.device)


def _currency(group: list[Charge], costs: list[DayCost]) -> str:
    """The one that charges bear their share in, theirs where costs are in it; others stand by
    themselves."""
    known = [own.currency for own in costs if own.currency]
    billed = [charge.currency for charge in group]
    return next((own for own in billed if own in known), (known + billed)[0])


def _bear(
    group: list[Charge], key: DeviceDayKey, costs: list[DayCost], owed: _Owing, currency: str
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
    for charge, weight, share in zip(group, ran, shares, strict=True):
        if part := owed.part(charge, weight, currency):
            share[PAYOUT] = part
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


def _sold_in_other_currencies(
    key: DeviceDayKey, costs: list[DayCost], currency: str
) -> Iterator[Charge]:
    for cost in costs:
        if cost.currency != currency and any(cost.sold.values()):
            yield _beside(key, cost, SOLD, 0, cost.sold)


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
