"""How are days of devices, costs and sales made for a test?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock_contracts.costs import CostVersion, Place
from penstock_contracts.prices import QUANTITY_PER_UNIT
from penstock_metering.core.device_days import STATES, DeviceDay, DeviceDays, as_integers
from penstock_metering.core.months import MS_PER_DAY, month_days
from penstock_metering.core.sales import Billed, Sales

MONTH = "2026-11"
DAYS = month_days(MONTH)
FIRST = DAYS[0]
WHOLE = 1_000 * MS_PER_DAY
USD = 1_000_000


def a_day(day: int = FIRST, device: str = "g0", **fields: Any) -> DeviceDay:
    """A device's day; hours per state, what is left of the day is free without demand."""
    fields = {"node": "n1", "model": "H100", "site": "oslo", **fields}
    hours = {state: fields.pop(state, 0) for state in STATES}
    hours["free_no_demand"] += 24 - sum(hours.values())
    milli_ms = tuple(int(hours[state] * 3_600_000 * 1_000) for state in STATES)
    return DeviceDay(device=device, day=day, milli_ms=milli_ms, **fields)


def a_cost(kind: str, micro: int = 0, from_day: int = 0, **fields: Any) -> CostVersion:
    known: dict[str, Any] = {"number": 1, "effective_from_ms": from_day * MS_PER_DAY, **fields}
    return CostVersion(kind=kind, micro=micro, **known)


def a_line(amount_micro: int, currency: str = "USD", price_micro: int = 2 * USD) -> Billed:
    return Billed(amount_micro, currency, price_micro, QUANTITY_PER_UNIT["gpu_hour"])


def some_sales(
    days: DeviceDays, lines: Sequence[Billed], rows: Sequence[tuple[int, str, int, int, int]]
) -> Sales:
    """Each (row of `days`, owner, line, what ran, what is billed)."""
    owners = list(dict.fromkeys(owner for _, owner, *_ in rows))
    return Sales(
        places=list(days.places),
        owners=owners,
        lines=list(lines),
        place=as_integers([days.place[row] for row, *_ in rows]),
        owner=as_integers([owners.index(owner) for _, owner, *_ in rows]),
        line=as_integers([line for _, _, line, _, _ in rows]),
        day=as_integers([days.day[row] for row, *_ in rows]),
        device=as_integers([days.device[row] for row, *_ in rows]),
        ran=as_integers([ran for *_, ran, _ in rows]),
        billed=as_integers([billed for *_, billed in rows]),
    )


def a_place(**fields: str) -> Place:
    return Place(**{"node": "n1", "device": "g0", "model": "H100", "site": "oslo", **fields})
