"""What did each device's time cost, state by state?

For every device (or node) and cost version one amount, from exact sums, rounded once half to even;
it is then divided over days and states so that the parts sum to it: fixed costs by time, energy by
what was measured. It does not know revenue, nor what is paid out of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock_contracts.costs import CostVersion, Place, in_force
from penstock_metering.core.device_days import (
    QUARTERS_PER_DAY,
    SOLD_COUNT,
    DeviceDay,
    DeviceDays,
    as_integers,
)
from penstock_metering.core.months import MS_PER_DAY, month_bounds_ms
from penstock_metering.core.spread import Integers, spread, sums_by_group

DEPRECIATION, RENT, HOSTING, ENERGY = "depreciation", "rent", "hosting", "energy"
COMPONENTS = (DEPRECIATION, RENT, HOSTING, ENERGY)
_KIND_OF = {DEPRECIATION: "purchase", RENT: "rent", HOSTING: "hosting", ENERGY: "energy"}
_MILLI = 1_000
_MS_PER_HOUR = 3_600_000
_MJ_PER_KWH = 3_600_000_000
_MINUTES_PER_QUARTER = 15
_WEIGHT_BITS = 48
"""Of a day's energy as a weight: a month of days stays far from what `spread` bears."""

Cells = dict[tuple[str, str], Integers]
"""Of each (component, currency) the micro-currency of each row and state."""


def cost_cells(days: DeviceDays, costs: Sequence[CostVersion], month: str) -> Cells:
    """All rows must be of the month."""
    found: Cells = {}
    for component in COMPONENTS:
        for per in ("device", "node"):
            own = [c for c in costs if c.kind == _KIND_OF[component] and c.per == per]
            versions = versions_by_row(days, own)
            if component == ENERGY:
                _add_energy(found, days, own, versions)
            else:
                _add_fixed(found, component, days, own, versions, month)
    return found


def versions_by_row(days: DeviceDays, costs: Sequence[CostVersion]) -> Integers:
    """Which of `costs`, all of one kind, is in force on each row's day; −1 = none."""
    number = {id(cost): at for at, cost in enumerate(costs)}
    names_devices = any(cost.device for cost in costs)
    starts = sorted({cost.effective_from_ms // MS_PER_DAY for cost in costs})
    known: dict[tuple[Place, int], int] = {}
    found = np.full(len(days), -1, dtype=np.int64)
    if not costs:
        return found
    stretch = np.searchsorted(as_integers(starts), days.day, side="right").tolist()
    for at, (row, since) in enumerate(zip(days.rows, stretch, strict=True)):
        if since:
            device = row.device if names_devices else ""
            place = Place(row.node, device, row.model, row.site)
            if (place, since) not in known:
                kind, per = costs[0].kind, costs[0].per
                cost = in_force(costs, kind, per, place, starts[since - 1] * MS_PER_DAY)
                known[place, since] = -1 if cost is None else number[id(cost)]
            found[at] = known[place, since]
    return found


def rounded(numerator: int, denominator: int) -> int:
    """The quotient, half to even; the denominator is positive."""
    whole, rest = divmod(numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2))


def _add_fixed(
    found: Cells,
    component: str,
    days: DeviceDays,
    costs: Sequence[CostVersion],
    versions: Integers,
    month: str,
) -> None:
    rows = np.flatnonzero(versions >= 0)
    if component == DEPRECIATION:
        rows = rows[[_is_written_off(costs[versions[at]], days.rows[at].day) for at in rows]]
    if not len(rows):
        return
    per_node = costs[0].per == "node"
    holder = (days.node if per_node else days.place)[rows]
    groups, first = _groups(holder, versions[rows])
    quantities = sums_by_group(
        _node_time(days, rows) if per_node else days.capacity[rows], groups, len(first)
    )
    amounts = []
    for at, quantity in zip(rows[first], quantities.tolist(), strict=True):
        micro, milli_ms = _rate(costs[versions[at]], month)
        amounts.append(rounded(micro * quantity, milli_ms))
    currencies = [costs[versions[at]].currency for at in rows[first]]
    _divide(found, component, days, rows, groups, amounts, currencies, days.milli_ms[rows])


def _is_written_off(cost: CostVersion, day: int) -> bool:
    return day < cost.effective_from_ms // MS_PER_DAY + cost.life_days


def _rate(cost: CostVersion, month: str) -> tuple[int, int]:
    """So much micro-currency for so many milli-GPU·ms of presence."""
    if cost.kind == "purchase":
        return cost.micro - cost.residual_micro, cost.life_days * MS_PER_DAY * _MILLI
    if cost.every == "hour":
        return cost.micro, _MS_PER_HOUR * _MILLI
    start_ms, end_ms = month_bounds_ms(month)
    return cost.micro, (end_ms - start_ms) * _MILLI


def _node_time(days: DeviceDays, rows: Integers) -> Integers:
    """A node is there as long as the device that is there longest: that day's row of it bears the
    time, the others none."""
    time = np.zeros(len(rows), dtype=np.int64)
    order = np.lexsort((-days.capacity[rows], days.day[rows], days.node[rows]))
    node, day = days.node[rows][order], days.day[rows][order]
    is_first = np.ones(len(rows), dtype=bool)
    is_first[1:] = (node[1:] != node[:-1]) | (day[1:] != day[:-1])
    time[order[is_first]] = days.capacity[rows][order[is_first]]
    return time


def _add_energy(
    found: Cells, days: DeviceDays, costs: Sequence[CostVersion], versions: Integers
) -> None:
    rows = np.flatnonzero(versions >= 0)
    if not len(rows):
        return
    tariffs = [_tariff(cost) for cost in costs]
    owed = [_energy_price(days.rows[at], tariffs[versions[at]]) for at in rows]
    groups, first = _groups(days.place[rows], versions[rows])
    sums = [0] * len(first)
    for group, micro_mj in zip(groups.tolist(), owed, strict=True):
        sums[group] += micro_mj
    versions_of = [costs[versions[at]] for at in rows[first]]
    amounts = [
        rounded(total * cost.overhead_milli, _MJ_PER_KWH * _MILLI)
        for total, cost in zip(sums, versions_of, strict=True)
    ]
    currencies = [cost.currency for cost in versions_of]
    scale = max(1, max(owed) >> _WEIGHT_BITS)
    weights = _energy_weights(days, rows, as_integers([one // scale for one in owed]))
    _divide(found, ENERGY, days, rows, groups, amounts, currencies, weights)


def _tariff(cost: CostVersion) -> list[tuple[int, int, int]]:
    """(from, to, micro per kWh) in quarters of an hour of the UTC day."""
    if not cost.bands:
        return [(0, QUARTERS_PER_DAY, cost.micro)]
    found: list[tuple[int, int, int]] = []
    for quarter in range(QUARTERS_PER_DAY):
        minute = (quarter * _MINUTES_PER_QUARTER + cost.utc_offset_minutes) % 1_440
        micro = [band.micro for band in cost.bands if band.from_minute <= minute][-1]
        if found and found[-1][2] == micro:
            found[-1] = found[-1][0], quarter + 1, micro
        else:
            found.append((quarter, quarter + 1, micro))
    return found


def _energy_price(row: DeviceDay, tariff: list[tuple[int, int, int]]) -> int:
    """mJ times micro per kWh. Energy whose quarter is not known costs the day's mean price."""
    energy_mj = row.energy_mj or 0
    if len(tariff) == 1 or not energy_mj:
        return energy_mj * tariff[0][2]
    placed_mj = total = 0
    for first, last, micro in tariff:
        drawn_mj = sum(filter(None, row.quarters_mj[first:last]))
        placed_mj += drawn_mj
        total += drawn_mj * micro
    mean = rounded(sum((last - first) * micro for first, last, micro in tariff), QUARTERS_PER_DAY)
    return total + (energy_mj - placed_mj) * mean


def _energy_weights(days: DeviceDays, rows: Integers, owed: Integers) -> Integers:
    """What was drawn while sold belongs to sold time, the rest to the rest; within each, and where
    it is not known which, by time."""
    milli_ms = days.milli_ms[rows].astype(np.float64)
    sold, capacity = milli_ms[:, :SOLD_COUNT].sum(axis=1), milli_ms.sum(axis=1)
    drawn, drawn_sold = days.energy_mj[rows], days.energy_sold_mj[rows]
    share = np.divide(sold, capacity, out=np.zeros_like(sold), where=capacity > 0)
    measured = (drawn_sold >= 0) & (drawn > 0)
    share = np.where(measured, np.minimum(1.0, drawn_sold / np.maximum(drawn, 1)), share)
    share = np.where(sold == 0, 0.0, np.where(sold == capacity, 1.0, share))
    own = np.where(np.arange(milli_ms.shape[1]) < SOLD_COUNT, share[:, None], 1 - share[:, None])
    of = np.where(
        np.arange(milli_ms.shape[1]) < SOLD_COUNT, sold[:, None], (capacity - sold)[:, None]
    )
    parts = np.divide(milli_ms, of, out=np.zeros_like(milli_ms), where=of > 0)
    weights: Integers = (owed[:, None] * own * parts).astype(np.int64)
    return weights


def _groups(holders: Integers, versions: Integers) -> tuple[Integers, Integers]:
    """Which group each row is in, and each group's first row: one holder under one version."""
    keys = holders * (int(versions.max()) + 1) + versions
    _, first, groups = np.unique(keys, return_index=True, return_inverse=True)
    return groups.reshape(-1).astype(np.int64), first


def _divide(
    found: Cells,
    component: str,
    days: DeviceDays,
    rows: Integers,
    groups: Integers,
    amounts: Sequence[int],
    currencies: Sequence[str],
    weights: Integers,
) -> None:
    """Divide each group's amount over its rows' cells and add them."""
    states = weights.shape[1]
    parts = spread(amounts, np.repeat(groups, states), weights.reshape(-1)).reshape(-1, states)
    for currency in sorted(set(currencies)):
        own = np.array([one == currency for one in currencies])[groups]
        cells = found.setdefault((component, currency), np.zeros_like(days.milli_ms))
        cells[rows[own]] += parts[own]
