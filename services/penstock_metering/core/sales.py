"""What did each sale bring, and what of it is paid out to owners of borrowed hosts?

A sale is what one tenant (or job) bought of one SKU on one device in a month. The amounts of the
month's lines are divided over their sales, so that these sum to what is billed. It does not know
the provider's other costs.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from penstock_contracts.costs import PPM, CostVersion, Place, in_force
from penstock_contracts.prices import QUANTITY_PER_UNIT
from penstock_metering.core.costs import rounded
from penstock_metering.core.device_days import as_integers
from penstock_metering.core.months import MS_PER_DAY
from penstock_metering.core.spread import Integers, spread, sums_by_group

_PER_GPU_HOUR = QUANTITY_PER_UNIT["gpu_hour"]


LineKey = tuple[str, str, int, str]
"""(tenant, SKU, price version, month that is corrected)"""


class Billed(msgspec.Struct, frozen=True):
    """One line of the month: its amount, and what its price asks per quantity."""

    amount_micro: int
    currency: str
    price_micro: int
    per_quantity: int


class Sales(msgspec.Struct, kw_only=True):
    """Parallel arrays, one entry a sale. `place`, `owner` and `line` are indexes into `places`,
    `owners` (tenants or jobs) and `lines`, `device` into the devices of `DeviceDays`; −1 = there
    is none. `day`: one by which the payout is found. `ran`: milli-GPU·ms that ran; `billed`:
    quantity on the line, negative where a correction takes back.
    """

    places: list[Place]
    owners: list[str]
    lines: list[Billed]
    line_of: dict[LineKey, int] = {}
    place: Integers
    owner: Integers
    line: Integers
    day: Integers
    device: Integers
    ran: Integers
    billed: Integers


class Earnings(msgspec.Struct, kw_only=True):
    """Per currency what each sale brought, and what of it goes to owners: a share of that, or so
    much for each hour sold. `payouts` per (owner, currency)."""

    revenue: dict[str, Integers]
    shares: dict[str, Integers]
    hours: dict[str, Integers]
    payouts: dict[tuple[str, str], int]


def earnings(sales: Sales, costs: Sequence[CostVersion]) -> Earnings:
    made = Earnings(revenue=_revenue(sales), shares={}, hours={}, payouts={})
    own = [cost for cost in costs if cost.kind == "payout"]
    if own and len(sales.place):
        versions = _versions(sales, own)
        for currency, revenue in made.revenue.items():
            _add_shares(made, sales, own, versions, currency, revenue)
        _add_hours(made, sales, own, versions)
    return made


def _revenue(sales: Sales) -> dict[str, Integers]:
    """Within a line, what is billed and what is taken back are divided apart: the latter at the
    line's price, the former so that both sum to the line."""
    taken = np.abs(np.minimum(sales.billed, 0))
    count = len(sales.lines)
    rows = np.flatnonzero(sales.line >= 0)
    lines = sales.line[rows]
    taken_back = sums_by_group(taken[rows], lines, count).tolist()
    gives = sums_by_group((sales.billed[rows] >= 0).astype(np.int64), lines, count).tolist()
    amounts = [0] * (2 * count)
    for at, line in enumerate(sales.lines):
        back = line.amount_micro
        if gives[at]:
            back = -rounded(line.price_micro * taken_back[at], line.per_quantity)
        amounts[2 * at], amounts[2 * at + 1] = line.amount_micro - back, back
    parts = np.zeros(len(sales.line), dtype=np.int64)
    groups = 2 * lines + (sales.billed[rows] < 0)
    parts[rows] = spread(amounts, groups, np.abs(sales.billed[rows]))
    found: dict[str, Integers] = {}
    for currency in sorted({line.currency for line in sales.lines}):
        own = np.array([line.currency == currency for line in sales.lines])
        mine = np.zeros(len(sales.line), dtype=np.int64)
        mine[rows] = np.where(own[lines], parts[rows], 0)
        found[currency] = mine
    return found


def _versions(sales: Sales, costs: Sequence[CostVersion]) -> Integers:
    """Which payout applies to each sale; −1 = none."""
    starts = sorted({cost.effective_from_ms // MS_PER_DAY for cost in costs})
    number = {id(cost): at for at, cost in enumerate(costs)}
    table = np.full((len(sales.places), len(starts) + 1), -1, dtype=np.int64)
    for at, place in enumerate(sales.places):
        for since, start in enumerate(starts, 1):
            cost = in_force(costs, "payout", "device", place, start * MS_PER_DAY)
            table[at, since] = -1 if cost is None else number[id(cost)]
    found: Integers = table[
        sales.place, np.searchsorted(as_integers(starts), sales.day, side="right")
    ]
    return found


def _add_shares(
    made: Earnings,
    sales: Sales,
    costs: Sequence[CostVersion],
    versions: Integers,
    currency: str,
    revenue: Integers,
) -> None:
    rows = np.flatnonzero((versions >= 0) & (revenue != 0))
    signs = (revenue[rows] < 0).astype(np.int64)
    groups, first = _groups(sales.place[rows] * 2 + signs, versions[rows])
    earned = sums_by_group(revenue[rows], groups, len(first)).tolist()
    own = [costs[versions[at]] for at in rows[first]]
    amounts = [rounded(e * c.share_ppm, PPM) for e, c in zip(earned, own, strict=True)]
    parts = np.zeros_like(revenue)
    parts[rows] = spread(amounts, groups, np.abs(revenue[rows]))
    made.shares[currency] = parts
    for amount, cost in zip(amounts, own, strict=True):
        _owe(made, cost.owner, currency, amount)


def _add_hours(
    made: Earnings, sales: Sales, costs: Sequence[CostVersion], versions: Integers
) -> None:
    rows = np.flatnonzero((versions >= 0) & (sales.ran > 0))
    groups, first = _groups(sales.place[rows], versions[rows])
    ran = sums_by_group(sales.ran[rows], groups, len(first)).tolist()
    own = [costs[versions[at]] for at in rows[first]]
    amounts = [rounded(r * c.micro, _PER_GPU_HOUR) for r, c in zip(ran, own, strict=True)]
    parts = spread(amounts, groups, sales.ran[rows])
    for currency in sorted({cost.currency for cost in own}):
        mine = np.array([cost.currency == currency for cost in own])
        hours = np.zeros(len(sales.place), dtype=np.int64)
        hours[rows] = np.where(mine[groups], parts, 0)
        made.hours[currency] = hours
    for amount, cost in zip(amounts, own, strict=True):
        _owe(made, cost.owner, cost.currency, amount)


def _owe(made: Earnings, owner: str, currency: str, amount: int) -> None:
    if amount:
        key = owner, currency
        made.payouts[key] = made.payouts.get(key, 0) + amount


def _groups(holders: Integers, versions: Integers) -> tuple[Integers, Integers]:
    keys = holders * (int(versions.max(initial=0)) + 1) + versions
    _, first, groups = np.unique(keys, return_index=True, return_inverse=True)
    return groups.reshape(-1).astype(np.int64), first
