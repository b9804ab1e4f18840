"""Which jobs of a month lost most, and what did they use?

The database ranks all jobs by what they brought less what they cost, to within rounding; only of
the worst are the rows read. It does not know exact amounts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from penstock_contracts.costs import PPM, CostVersion, in_force
from penstock_contracts.prices import GPU, GPU_PREFIX, QUANTITY_PER_UNIT
from penstock_metering.core.device_days import DeviceDays
from penstock_metering.core.job_profit import JobUse, Rates
from penstock_metering.core.months import MS_PER_DAY
from penstock_metering.core.parts import RUNNING
from penstock_metering.core.sales import Sales
from penstock_metering.ledger import schema
from penstock_metering.rating import tables as rating

_rated, _leases = rating.rated.c, schema.leases.c
_PER_GPU_HOUR = QUANTITY_PER_UNIT["gpu_hour"]
Columns = tuple[tuple[str, Any], ...]
_LINE: Columns = (
    ("tenant", sa.Text), ("sku", sa.Text), ("price_version", sa.BigInteger), ("rate", sa.Double)
)  # fmt: skip
_DEVICE: Columns = (
    ("node", sa.Text),
    ("device", sa.Text),
    ("rate", sa.Double),
    ("kept", sa.Double),
)
RANKED_MAX = 8_000
"""Lines and devices that jobs are ranked by: SQLite takes 32,766 values in a statement."""
_ran = sa.case((_rated.state == RUNNING, _rated.quantity), else_=0)


class TooMany(Exception):
    """More lines and devices than jobs can be ranked by."""


def worst_jobs(
    connection: sa.Connection,
    month: str,
    limit: int,
    days: DeviceDays,
    sales: Sales,
    of: Rates,
    payouts: Sequence[CostVersion],
) -> list[str]:
    """At most `limit` jobs, worst first. Raises TooMany."""
    if not sales.line_of or not int(of.ran.sum()):
        return []
    if len(sales.line_of) + len(days.devices) > RANKED_MAX:
        raise TooMany
    lines = _table("line_rates", _LINE, _line_rates(sales, of))
    devices = _table("device_rates", _DEVICE, _device_rates(days, of, payouts))
    kept = sa.func.coalesce(devices.c.kept, 1.0)
    gained = sa.cast(_rated.billed_quantity, sa.Double) * sa.func.coalesce(lines.c.rate, 0.0) * kept
    lost = sa.cast(_ran, sa.Double) * sa.func.coalesce(devices.c.rate, 0.0)
    on_line = sa.and_(
        lines.c.tenant == _rated.tenant,
        lines.c.sku == _rated.sku,
        lines.c.price_version == _rated.price_version,
    )
    on_device = sa.and_(devices.c.node == _rated.node, devices.c.device == _rated.device)
    profit = sa.func.sum(gained - lost)
    statement = (
        sa.select(_rated.job_id)
        .select_from(rating.rated)
        .outerjoin(lines, on_line)
        .outerjoin(devices, on_device)
        .where(_rated.period == month, sa.or_(_rated.state == RUNNING, _rated.billed_quantity != 0))
        .group_by(_rated.job_id)
        .order_by(profit, _rated.job_id)
        .limit(limit)
    )
    return [row.job_id for row in connection.execute(statement)]


def read_uses(
    connection: sa.Connection,
    month: str,
    jobs: Sequence[str],
    days: DeviceDays,
    sales: Sales,
    payouts: Sequence[CostVersion],
) -> Iterator[JobUse]:
    numbers = {job: at for at, job in enumerate(jobs)}
    devices = {key: at for at, key in enumerate(days.devices)}
    places = {(place.node, place.device): place for place in days.places}
    own = sa.and_(
        _leases.lease_seq == _rated.lease_seq,
        _leases.job_id == _rated.job_id,
        _leases.rank == _rated.rank,
    )
    statement = (
        sa.select(rating.rated, _ran.label("ran"))
        .join(schema.leases, own)
        .where(_leases.job_id.in_(jobs), _rated.period == month)
        .order_by(*rating.rated.primary_key.columns)
    )
    for row in connection.execute(statement):
        key = row.tenant, row.sku, row.price_version, row.corrects
        place = places.get((row.node, row.device))
        is_gpu = row.sku == GPU or row.sku.startswith(GPU_PREFIX)
        paid = None
        if place is not None:
            paid = in_force(payouts, "payout", "device", place, row.day * MS_PER_DAY)
        yield JobUse(
            job=numbers[row.job_id],
            device=devices.get((row.node, row.device), -1),
            line=sales.line_of.get(key, -1),
            ran=row.ran if is_gpu else 0,
            billed=row.billed_quantity,
            payout=paid,
        )


def _line_rates(sales: Sales, of: Rates) -> Iterator[tuple[str, str, int, float]]:
    for (tenant, sku, version, corrects), at in sales.line_of.items():
        if not corrects:
            rate = sales.lines[at].amount_micro / max(1, int(of.billed[at]))
            yield tenant, sku, version, rate


def _device_rates(
    days: DeviceDays, of: Rates, payouts: Sequence[CostVersion]
) -> Iterator[tuple[str, str, float, float]]:
    """Of those that ran anything."""
    last_ms = max((row.day for row in days.rows), default=0) * MS_PER_DAY
    places = {(place.node, place.device): place for place in days.places}
    for at, (node, device) in enumerate(days.devices):
        if not of.ran[at]:
            continue
        cost = sum(int(micro[at]) for micro in of.costs.values())
        rate, kept = cost / int(of.ran[at]), 1.0
        paid = in_force(payouts, "payout", "device", places[node, device], last_ms)
        if paid is not None:
            rate += paid.micro / _PER_GPU_HOUR
            kept -= paid.share_ppm / PPM
        yield node, device, rate, kept


def _table(name: str, columns: Columns, rows: Iterator[tuple[Any, ...]]) -> sa.CTE:
    """Rows as a table of the statement. The types are said once more, or SQLite finds no row of it
    by an index."""
    given = sa.values(*(sa.column(n, kind) for n, kind in columns), name=f"{name}_given")
    source = given.data(list(rows)).cte(f"{name}_given")
    typed = (sa.cast(source.c[n], kind).label(n) for n, kind in columns)
    return sa.select(*typed).cte(name).prefix_with("MATERIALIZED")
