"""How much was used, by whom, at which price?

Read from what is rated: whole days from their sums, a part of a day from the leases that were there
in it. Only sums of quantities are multiplied and rounded. Free allowances belong to a month's bill
and are not taken off here. It does not know what a job is beyond its id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from penstock_contracts.prices import PriceVersion, money_micro
from penstock_metering.core.months import MS_PER_DAY, day_of
from penstock_metering.core.parts import FLAT, RUNNING
from penstock_metering.ledger import schema
from penstock_metering.rating.part_days import read_part_day
from penstock_metering.rating.price_book import read_book
from penstock_metering.rating.tables import rated, usage_days

_leases = schema.leases
_USED = (RUNNING, FLAT)
"""States in which something was used; of others what is billed counts."""


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What one owner (a tenant or a job) used of one SKU under one price version (None: there was
    none). `quantity` was used, `billed_quantity` is to be paid. `runs`: attempts that began."""

    owner: str
    project: str = ""
    sku: str
    unit: str
    quantity: int
    billed_quantity: int
    price: PriceVersion | None
    runs: int

    @property
    def cost_micro(self) -> int:
        return 0 if self.price is None else money_micro(self.billed_quantity, self.price)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Of one tenant (empty = all) and perhaps project, within `[from_ms, to_ms)` (None = open)."""

    tenant: str = ""
    project: str | None = None
    by_project: bool = False
    from_ms: int | None = None
    to_ms: int | None = None


_Key = tuple[str, str, str, str, int]
"""Owner, project, SKU, unit, price version"""


class _Uses:
    def __init__(self, prices: Mapping[int, PriceVersion]) -> None:
        self._prices = prices
        self._sums: dict[_Key, list[int]] = {}

    def add(self, key: _Key, quantity: int, billed_quantity: int, runs: int) -> None:
        sums = self._sums.setdefault(key, [0, 0, 0])
        sums[0] += quantity
        sums[1] += billed_quantity
        sums[2] += runs

    def uses(self) -> list[Use]:
        return [
            Use(
                owner=owner,
                project=project,
                sku=sku,
                unit=unit,
                quantity=sums[0],
                billed_quantity=sums[1],
                price=self._prices.get(version),
                runs=sums[2],
            )
            for (owner, project, sku, unit, version), sums in sorted(self._sums.items())
            if any(sums)
        ]


def use_by_tenant(connection: sa.Connection, asked: Asked) -> list[Use]:
    """Ordered by tenant, project, SKU and price version."""
    found = _Uses(read_book(connection).by_number)
    first_day, last_day, rests = _divide(asked.from_ms, asked.to_ms)
    for row in connection.execute(_sum_days(asked, first_day, last_day)):
        project = row.project if asked.by_project else ""
        key = (row.tenant, project, row.sku, row.unit, row.price_version)
        found.add(key, int(row.quantity), int(row.billed_quantity), int(row.leases))
    for from_ms, to_ms in rests:
        for row in connection.execute(_sum_part_day(asked, from_ms, to_ms)):
            project = row.project if asked.by_project else ""
            key = (row.tenant, project, row.sku, row.unit, row.price_version)
            found.add(key, int(row.quantity), int(row.billed_quantity), int(row.leases))
        for lease, part, unit in read_part_day(connection, asked.tenant, from_ms, to_ms):
            if asked.project is None or asked.project == lease.project:
                project = lease.project if asked.by_project else ""
                key = (lease.tenant, project, part.sku, unit, part.price_version)
                used = part.quantity if part.state in _USED else 0
                found.add(key, used, part.billed_quantity, part.runs)
    return found.uses()


def use_by_job(connection: sa.Connection, job_ids: Sequence[str]) -> dict[str, list[Use]]:
    """All that jobs used in all their attempts."""
    found = _Uses(read_book(connection).by_number)
    same = [rated.c[name] == _leases.c[name] for name in ("lease_seq", "job_id", "rank")]
    columns = (rated.c.job_id, rated.c.sku, rated.c.unit, rated.c.price_version)
    rows = connection.execute(
        sa.select(*columns, *_sums(rated.c, rated.c.runs))
        .join(_leases, sa.and_(*same))
        .where(_leases.c.job_id.in_(job_ids))
        .group_by(*columns)
    )
    for row in rows:
        key = (row.job_id, "", row.sku, row.unit, row.price_version)
        found.add(key, int(row.quantity), int(row.billed_quantity), int(row.leases))
    by_job: dict[str, list[Use]] = {}
    for use in found.uses():
        by_job.setdefault(use.owner, []).append(use)
    return by_job


def _divide(
    from_ms: int | None, to_ms: int | None
) -> tuple[int | None, int | None, list[tuple[int, int]]]:
    """Whole days from the first one to before the last one (None = open), and what is left at both
    ends."""
    first_day = None if from_ms is None else -(-from_ms // MS_PER_DAY)
    last_day = None if to_ms is None else to_ms // MS_PER_DAY
    if from_ms is not None and to_ms is not None and (first_day or 0) > (last_day or 0):
        return 0, 0, [(from_ms, to_ms)] if from_ms < to_ms else []
    rests = []
    if from_ms is not None and first_day is not None and from_ms < first_day * MS_PER_DAY:
        rests.append((from_ms, first_day * MS_PER_DAY))
    if to_ms is not None and last_day is not None and last_day * MS_PER_DAY < to_ms:
        rests.append((last_day * MS_PER_DAY, to_ms))
    return first_day, last_day, rests


def _sum_days(asked: Asked, first_day: int | None, last_day: int | None) -> sa.Select[Any]:
    statement = _sum(asked, usage_days.c, usage_days.c.leases)
    if first_day is not None:
        statement = statement.where(usage_days.c.day >= first_day)
    if last_day is not None:
        statement = statement.where(usage_days.c.day < last_day)
    return statement


def _sum_part_day(asked: Asked, from_ms: int, to_ms: int) -> sa.Select[Any]:
    """Rows that lie within that time of one day as a whole."""
    row = rated.c
    within = (row.t0_ms >= from_ms, row.t0_ms < to_ms, row.t1_ms <= to_ms)
    return _sum(asked, row, row.runs).where(row.day == day_of(from_ms), *within)


def _sum(asked: Asked, table: Any, runs: sa.Column[Any]) -> sa.Select[Any]:
    columns = [table.tenant, table.sku, table.unit, table.price_version]
    if asked.by_project:
        columns.append(table.project)
    statement = sa.select(*columns, *_sums(table, runs)).group_by(*columns)
    if asked.tenant:
        statement = statement.where(table.tenant == asked.tenant)
    if asked.project is not None:
        statement = statement.where(table.project == asked.project)
    return statement


def _sums(table: Any, runs: sa.Column[Any]) -> Iterable[sa.Label[Any]]:
    used = sa.case((table.state.in_(_USED), table.quantity), else_=0)
    yield sa.func.sum(used).label("quantity")
    yield sa.func.sum(table.billed_quantity).label("billed_quantity")
    yield sa.func.sum(runs).label("leases")
