"""What did a month's device days cost the provider, as charges bear it?

Takes profit and loss's own figures apart by device and day, so that an export sums to it. It does
not know how costs are divided over charges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import sqlalchemy as sa

from penstock_contracts.exports import Charge
from penstock_metering.core.device_days import SOLD_COUNT, UNSOLD_STATES
from penstock_metering.core.provider_charges import (
    DayCost,
    DeviceDayKey,
    DeviceOf,
    Owed,
    with_costs,
)
from penstock_metering.costs.profits import Books, read_books


def bear_costs(
    connection: sa.Connection, charges: Iterable[Charge], month: str, now_ms: int
) -> Iterator[Charge]:
    """The month's charges with what they cost, and those of time that nobody bought."""
    books = read_books(connection, month, now_ms)
    return with_costs(charges, _day_costs(books), _payouts(books))


def _day_costs(books: Books) -> dict[DeviceDayKey, list[DayCost]]:
    found: dict[DeviceDayKey, list[DayCost]] = {}
    for currency in sorted({own for _, own in books.cells}) or [""]:
        cells = {
            component: micro.tolist()
            for (component, own), micro in sorted(books.cells.items())
            if own == currency
        }
        for at, row in enumerate(books.days.rows):
            sold = {name: sum(micro[at][:SOLD_COUNT]) for name, micro in cells.items()}
            idle = {
                state: (
                    row.milli_ms[SOLD_COUNT + place] if currency == _first_currency(books) else 0,
                    {name: micro[at][SOLD_COUNT + place] for name, micro in cells.items()},
                )
                for place, state in enumerate(UNSOLD_STATES)
            }
            key = DeviceDayKey(row.day, row.node, row.device)
            day = DayCost(currency, sold, idle, row.model, row.site)
            found.setdefault(key, []).append(day)
    return found


def _first_currency(books: Books) -> str:
    """Time is told once, whatever the number of currencies."""
    return min((own for _, own in books.cells), default="")


def _payouts(books: Books) -> dict[DeviceOf, list[Owed]]:
    """By tenant and device over the month."""
    sales = books.sales
    owners, places, ran = sales.owner.tolist(), sales.place.tolist(), sales.ran.tolist()
    keys = [
        DeviceOf(sales.owners[owner], sales.places[place].node, sales.places[place].device)
        for owner, place in zip(owners, places, strict=True)
    ]
    time: dict[DeviceOf, int] = {}
    for key, milli_ms in zip(keys, ran, strict=True):
        time[key] = time.get(key, 0) + milli_ms
    owed: dict[tuple[DeviceOf, str], int] = {}
    for parts in (books.made.shares, books.made.hours):
        for currency, micro in parts.items():
            for at in micro.nonzero()[0].tolist():
                owed[keys[at], currency] = owed.get((keys[at], currency), 0) + int(micro[at])
    found: dict[DeviceOf, list[Owed]] = {}
    for (key, currency), amount in owed.items():
        found.setdefault(key, []).append(Owed(currency, amount, time[key]))
    return found
