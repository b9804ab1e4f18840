"""What remained of what devices, nodes, models, sites, tenants and jobs brought?

Adds up what sales brought and what time cost under the keys asked for. Of the cost of a device's
sold time in the month each buyer bears its share by time; what time that nobody bought cost stands
under a key of its own. It does not know where the figures come from, nor in which words they are
told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from penstock_contracts.costs import Place
from penstock_contracts.profits import NOT_BILLED, NOT_SOLD, IdleTime
from penstock_metering.core.costs import COMPONENTS, Cells
from penstock_metering.core.device_days import SOLD_COUNT, UNSOLD_STATES, DeviceDays
from penstock_metering.core.sales import Earnings, Sales
from penstock_metering.core.spread import Integers, spread, sums_by_group

REVENUE, SHARES, HOURS = "revenue", "shares", "hours"
IDLE, IDLE_ENERGY = "idle", "idle_energy"

_KEYS: dict[str, Callable[[Place], str]] = {
    "device": lambda place: f"{place.node}/{place.device}" if place.device else place.node,
    "node": lambda place: place.node,
    "model": lambda place: place.model or ("(unknown)" if place.device else "(no device)"),
    "site": lambda place: place.site or "(no site)",
}


class Tally:
    """Sums under `names`. `amounts` per (what, currency); `capacity`, `sold` and each idle
    state's time in milli-GPU·ms."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.amounts: dict[tuple[str, str], Integers] = {}
        self.idle_costs: dict[tuple[str, str], Integers] = {}
        self.idle_time = {state: self._zeros() for state in UNSOLD_STATES}
        self.capacity = self._zeros()
        self.sold = self._zeros()

    def add(self, what: str, currency: str, keys: Integers, values: Integers) -> None:
        known = self.amounts.setdefault((what, currency), self._zeros())
        known += sums_by_group(values, keys, len(self.names))

    def add_idle(self, state: str, currency: str, keys: Integers, values: Integers) -> None:
        known = self.idle_costs.setdefault((state, currency), self._zeros())
        known += sums_by_group(values, keys, len(self.names))

    def of(self, what: str, currency: str) -> Integers:
        return self.amounts.get((what, currency), self._zeros())

    @property
    def currencies(self) -> list[str]:
        return sorted({currency for _, currency in self.amounts})

    def profit(self, currency: str) -> Integers:
        costs = sum((self.of(what, currency) for what in COSTS), self._zeros())
        return self.of(REVENUE, currency) - costs

    def _zeros(self) -> Integers:
        return np.zeros(len(self.names), dtype=np.int64)


COSTS = (SHARES, HOURS, *COMPONENTS)


def tally_by_place(by: str, days: DeviceDays, cells: Cells, sales: Sales, made: Earnings) -> Tally:
    """By device, node, model or site."""
    names: dict[str, int] = {}
    of_rows = _indexes(names, by, days.places)[days.place]
    of_sales = _indexes(names, by, sales.places)[sales.place]
    tally = Tally(list(names))
    _add_earnings(tally, made, of_sales)
    _add_time(tally, days, of_rows)
    for (component, currency), micro in cells.items():
        tally.add(component, currency, of_rows, micro.sum(axis=1))
        _add_idle(tally, component, currency, of_rows, micro)
    tally.sold += sums_by_group(days.sold, of_rows, len(names))
    return tally


def tally_by_owner(days: DeviceDays, cells: Cells, sales: Sales, made: Earnings) -> Tally:
    """By whoever `sales.owners` are: tenants, or jobs."""
    count = len(sales.owners)
    tally = Tally([*sales.owners, NOT_SOLD, NOT_BILLED])
    _add_earnings(tally, made, sales.owner)
    not_sold = np.full(len(days), count, dtype=np.int64)
    _add_time(tally, days, not_sold)
    placed = np.flatnonzero((sales.device >= 0) & (sales.ran > 0))
    buyers, devices = sales.owner[placed], sales.device[placed]
    unbought = np.ones(len(days.devices), dtype=bool)
    unbought[devices] = False
    rest = np.flatnonzero(unbought)
    for (component, currency), micro in cells.items():
        sold = micro[:, :SOLD_COUNT].sum(axis=1)
        sold = sums_by_group(sold, days.device, len(days.devices))
        tally.add(component, currency, buyers, spread(sold, devices, sales.ran[placed]))
        tally.add(component, currency, np.full(len(rest), count + 1), sold[rest])
        tally.add(component, currency, not_sold, micro[:, SOLD_COUNT:].sum(axis=1))
        _add_idle(tally, component, currency, not_sold, micro)
    tally.sold += sums_by_group(np.maximum(sales.ran, 0), sales.owner, len(tally.names))
    return tally


def idle_times(tally: Tally) -> list[IdleTime]:
    """Over all keys: why time was not sold, and what it cost."""
    found = []
    for state in UNSOLD_STATES:
        milli_ms = int(tally.idle_time[state].sum())
        costs = {
            currency: int(micro.sum())
            for (own, currency), micro in sorted(tally.idle_costs.items())
            if own == state
        }
        for currency, cost_micro in (costs or {"": 0}).items():
            if milli_ms or cost_micro:
                found.append(IdleTime(state, milli_ms, cost_micro, currency))
    return found


def _indexes(names: dict[str, int], by: str, places: Sequence[Place]) -> Integers:
    key = _KEYS[by]
    return np.array([names.setdefault(key(p), len(names)) for p in places], dtype=np.int64)


def _add_earnings(tally: Tally, made: Earnings, keys: Integers) -> None:
    for what, of in ((REVENUE, made.revenue), (SHARES, made.shares), (HOURS, made.hours)):
        for currency, micro in of.items():
            tally.add(what, currency, keys, micro)


def _add_time(tally: Tally, days: DeviceDays, keys: Integers) -> None:
    tally.capacity += sums_by_group(days.capacity, keys, len(tally.names))
    for at, state in enumerate(UNSOLD_STATES, SOLD_COUNT):
        tally.idle_time[state] += sums_by_group(days.milli_ms[:, at], keys, len(tally.names))


def _add_idle(tally: Tally, component: str, currency: str, keys: Integers, micro: Integers) -> None:
    unsold = micro[:, SOLD_COUNT:]
    tally.add(IDLE, currency, keys, unsold.sum(axis=1))
    if component == "energy":
        tally.add(IDLE_ENERGY, currency, keys, unsold.sum(axis=1))
    for at, state in enumerate(UNSOLD_STATES):
        tally.add_idle(state, currency, keys, unsold[:, at])
