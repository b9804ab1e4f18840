"""How do parts of leases stand in the ledger, and what do they add up to?

Parts to rows of `rated` and back, and the sums over rows that come and go. It does not know how
parts come about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from penstock_contracts.prices import unit_of
from penstock_metering.core.parts import RUNNING, Part
from penstock_metering.core.rows import LeaseRow
from penstock_metering.ledger.statements import Row
from penstock_metering.rating import tables
from penstock_metering.rating.statements import statements

_AT = {column.name: place for place, column in enumerate(tables.rated.columns)}
PART, PERIOD = _AT["part"], _AT["period"]

RatedRow = tuple[Any, ...]
"""As the columns of `rated`."""


def rated_row(lease: LeaseRow, number: int, part: Part, period: str, corrects: str) -> RatedRow:
    return (
        *lease.key,
        number,
        lease.tenant,
        lease.project,
        lease.tier,
        lease.site,
        lease.node,
        part.device,
        part.model,
        part.sku,
        part.price_version,
        unit_of(part.sku),
        part.state,
        part.day,
        part.t0_ms,
        part.t1_ms,
        part.quantity,
        part.billed_quantity,
        part.runs,
        period,
        corrects,
    )


def read_part(row: RatedRow) -> Part:
    return Part(**{name: row[_AT[name]] for name in Part.__struct_fields__})


class Sums:
    """What rows that come and go add to `usage_days` and `device_sales`."""

    def __init__(self) -> None:
        self._days: dict[Row, list[int]] = {}
        self._sales: dict[Row, list[int]] = {}

    def count(self, row: RatedRow, sign: int) -> None:
        """`sign` −1: it goes."""
        quantity, billed, runs, state = _counted_of(row)
        sums = self._days.setdefault(_day_of(row), [0, 0, 0])
        sums[0] += sign * quantity
        sums[1] += sign * billed
        sums[2] += sign * runs
        if billed or state == RUNNING:
            sold = self._sales.setdefault(_sale_of(row), [0, 0])
            sold[0] += sign * quantity if state == RUNNING else 0
            sold[1] += sign * billed

    def write(self, connection: sa.Connection) -> None:
        own = statements(connection)
        days = [(*key, *sums) for key, sums in self._days.items() if any(sums)]
        own.add(connection, tables.usage_days, days, _is_falling(self._days))
        sales = [(*key, *sums) for key, sums in self._sales.items() if any(sums)]
        own.add(connection, tables.device_sales, sales, _is_falling(self._sales))


_counted_of = itemgetter(*(_AT[name] for name in ("quantity", "billed_quantity", "runs", "state")))
_day_of = itemgetter(
    *(
        _AT[column.name]
        for column in tables.usage_days.columns
        if column.name not in ("quantity", "billed_quantity", "leases")
    )
)
_sale_of = itemgetter(*(_AT[column.name] for column in tables.device_sales.primary_key.columns))


def _is_falling(sums: Mapping[Row, Sequence[int]]) -> bool:
    return any(value < 0 for values in sums.values() for value in values)
