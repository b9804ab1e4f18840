"""How much was used, by whom, at which price?

Sums ledger lines in SQL, clipped to their leases, to the time asked for and to the time each price
was in force; only the sum is multiplied and rounded. Who pays is who the scheduler granted the
lease to, whatever the segment says. It does not know what a job is beyond its id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from penstock_metering import schema
from penstock_metering.core.rating import (
    CPU_SKU,
    CPU_UNIT,
    GPU_SKU,
    GPU_UNIT,
    Price,
    PriceWindow,
    cost_micro,
    windows,
)

_lines, _leases = schema.ledger_lines, schema.leases
_batches, _models = schema.usage_batches, schema.device_models


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What one owner (a tenant or a job) used of one SKU under one price version."""

    owner: str
    sku: str
    unit: str
    quantity: int
    price: Price
    jobs: int

    @property
    def cost_micro(self) -> int:
        return cost_micro(self.quantity, self.price.micro_per_hour)


def read_prices(connection: sa.Connection) -> list[Price]:
    return [Price(**row._mapping) for row in connection.execute(sa.select(schema.prices))]


def use_by_tenant(
    connection: sa.Connection, tenant: str, from_ms: int | None, to_ms: int | None
) -> list[Use]:
    """Every tenant's use, or one's, within `[from_ms, to_ms)`; ordered by tenant and SKU."""
    only = [_leases.c.tenant == tenant] if tenant else []
    return _use(connection, _leases.c.tenant, only, from_ms, to_ms)


def use_by_job(connection: sa.Connection, job_ids: Sequence[str]) -> dict[str, list[Use]]:
    found: dict[str, list[Use]] = {}
    if job_ids:
        only = [_leases.c.job_id.in_(job_ids)]
        for use in _use(connection, _leases.c.job_id, only, None, None):
            found.setdefault(use.owner, []).append(use)
    return found


def _use(
    connection: sa.Connection,
    owner: sa.Column[Any],
    only: Iterable[sa.ColumnElement[bool]],
    from_ms: int | None,
    to_ms: int | None,
) -> list[Use]:
    prices = read_prices(connection)
    found = []
    for sku in sorted({price.sku for price in prices}):
        for window in windows(prices, sku):
            clipped = _intersect(window, from_ms, to_ms)
            statement = _sum_statement(owner, [*only, _rated_as(sku, prices)], clipped)
            for row in connection.execute(statement):
                found.append(
                    Use(
                        owner=row.owner,
                        sku=sku if sku != GPU_SKU or not row.model else f"{GPU_SKU}/{row.model}",
                        unit=CPU_UNIT if sku == CPU_SKU else GPU_UNIT,
                        quantity=int(row.quantity),
                        price=window.price,
                        jobs=row.jobs,
                    )
                )
    return sorted(found, key=lambda use: (use.owner, use.sku, use.price.version))


def _rated_as(sku: str, prices: Sequence[Price]) -> sa.ColumnElement[bool]:
    """Which lines this SKU's price applies to."""
    if sku == CPU_SKU:
        return _lines.c.device == ""
    if sku != GPU_SKU:
        return _models.c.model == sku.removeprefix(f"{GPU_SKU}/")
    own = sorted({p.sku.removeprefix(f"{GPU_SKU}/") for p in prices if p.sku.startswith("gpu/")})
    model = sa.func.coalesce(_models.c.model, "")
    return sa.and_(_lines.c.device != "", model.not_in(own))


def _intersect(
    window: PriceWindow, from_ms: int | None, to_ms: int | None
) -> tuple[int, int | None]:
    start = window.from_ms if from_ms is None else max(from_ms, window.from_ms)
    ends = [end for end in (window.to_ms, to_ms) if end is not None]
    return start, min(ends) if ends else None


def _sum_statement(
    owner: sa.Column[Any],
    only: Iterable[sa.ColumnElement[bool]],
    window: tuple[int, int | None],
) -> sa.Select[Any]:
    start_ms, end_ms = window
    first = _greater(_greater(_lines.c.t0_ms, _leases.c.granted_ms), sa.literal(start_ms))
    last = _lesser(_lines.c.t1_ms, _leases.c.released_ms)
    if end_ms is not None:
        last = _lesser(last, sa.literal(end_ms))
    model = sa.func.coalesce(_models.c.model, "")
    return (
        sa.select(
            owner.label("owner"),
            model.label("model"),
            sa.func.sum(_lines.c.milli * (last - first)).label("quantity"),
            sa.func.count(sa.distinct(_lines.c.job_id)).label("jobs"),
        )
        .select_from(_lines)
        .join(
            _leases,
            sa.and_(
                _leases.c.lease_seq == _lines.c.lease_seq,
                _leases.c.job_id == _lines.c.job_id,
                _leases.c.rank == _lines.c.rank,
            ),
        )
        .join(
            _batches,
            sa.and_(_batches.c.number == _lines.c.batch_number, _batches.c.node == _leases.c.node),
        )
        .outerjoin(
            _models,
            sa.and_(_models.c.node == _batches.c.node, _models.c.uuid == _lines.c.device),
        )
        .where(*only, last > first)
        .group_by(owner, model)
    )


def _greater(a: Any, b: Any) -> Any:
    return sa.case((a < b, b), else_=a)


def _lesser(a: Any, b: Any) -> Any:
    """The smaller one; `a` where `b` is NULL."""
    return sa.case((a > b, b), else_=a)
