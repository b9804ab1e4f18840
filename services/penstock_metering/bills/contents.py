"""What is on the bills of a month?

Lines of a closed month as they were issued, of an open one computed from rated use. It does not
know how a month is closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from penstock_contracts.bills import Party
from penstock_contracts.prices import PriceVersion
from penstock_metering.bills import tables
from penstock_metering.budgets.book import paid_in
from penstock_metering.core.billing import INVOICE, USAGE
from penstock_metering.core.lines import Line, Use, line_amounts
from penstock_metering.rating.price_book import read_versions
from penstock_metering.rating.tables import usage_days

OPERATOR = "Penstock"
"""Who sends bills, until that is set."""

_periods, _invoices, _lines = tables.periods.c, tables.invoices.c, tables.invoice_lines.c
_decode_party = msgspec.json.Decoder(Party).decode
_COUNTED = ("quantity", "billed_quantity", "free_quantity", "amount_micro")


def closed_until(connection: sa.Connection) -> str:
    """The last closed month; empty = none is."""
    return connection.execute(sa.select(sa.func.max(_periods.month))).scalar() or ""


def closed_ms(connection: sa.Connection, month: str) -> int | None:
    """When the month was closed; None = it is open."""
    found = sa.select(_periods.closed_ms).where(_periods.month == month)
    return connection.execute(found).scalar()


def read_party(connection: sa.Connection, tenant: str) -> Party:
    """How a tenant, or (empty) whoever sends bills, stands on those issued now."""
    return party_of(tenant, read_parties(connection))


def party_of(tenant: str, known: Mapping[str, Party]) -> Party:
    return known.get(tenant) or Party(name=tenant or OPERATOR)


def read_parties(connection: sa.Connection) -> dict[str, Party]:
    """Those of whom more is known than what the mesh calls them."""
    return {
        row.tenant: Party(name=row.name, address=row.address, tax_id=row.tax_id)
        for row in connection.execute(sa.select(tables.parties))
    }


def decode_party(text: str) -> Party:
    return _decode_party(text)


def read_prices(connection: sa.Connection) -> dict[int, PriceVersion]:
    return {price.version: price for price in read_versions(connection)}


def read_lines(connection: sa.Connection, month: str, tenant: str = "") -> list[Line]:
    """The lines of use that post to the month, of one tenant or all: as they were issued, or as
    they are now."""
    if closed_ms(connection, month) is None:
        return open_lines(connection, month, tenant)
    prices = read_prices(connection)
    only = [_lines.tenant == tenant] if tenant else []
    rows = connection.execute(_usage_lines().where(_invoices.period == month, *only))
    return [_line(row, row.corrects, prices) for row in rows]


def open_lines(connection: sa.Connection, month: str, tenant: str = "") -> list[Line]:
    days = usage_days.c
    key = (days.tenant, days.sku, days.price_version, days.corrects)
    rows = connection.execute(
        sa.select(
            *key,
            sa.func.sum(days.quantity).label("quantity"),
            sa.func.sum(days.billed_quantity).label("billed_quantity"),
        )
        .where(days.period == month, *([days.tenant == tenant] if tenant else []))
        .group_by(*key)
    )
    uses = [
        Use(
            tenant=row.tenant,
            sku=row.sku,
            price_version=row.price_version,
            corrects=row.corrects,
            quantity=int(row.quantity),
            billed_quantity=int(row.billed_quantity),
        )
        for row in rows
    ]
    prices = read_prices(connection)
    corrected = sorted({use.corrects for use in uses if use.corrects})
    return line_amounts(uses, prices, _issued_for(connection, corrected, tenant, prices))


def _issued_for(
    connection: sa.Connection,
    months: Iterable[str],
    tenant: str,
    prices: dict[int, PriceVersion],
) -> list[Line]:
    """What was billed for use of these months, in whatever document; each with its month of use."""
    wanted = list(months)
    if not wanted:
        return []
    own = sa.and_(_lines.corrects == "", _invoices.period.in_(wanted))
    statement = _usage_lines().where(sa.or_(own, _lines.corrects.in_(wanted)))
    if tenant:
        statement = statement.where(_lines.tenant == tenant)
    return [_line(row, row.corrects or row.period, prices) for row in connection.execute(statement)]


def _usage_lines() -> sa.Select[Any]:
    return (
        sa.select(tables.invoice_lines, _invoices.period)
        .join(tables.invoices, _invoices.invoice_id == _lines.invoice_id)
        .where(_lines.kind == USAGE)
        .order_by(_lines.invoice_id, _lines.number)
    )


def _line(row: Any, corrects: str, prices: dict[int, PriceVersion]) -> Line:
    return Line(
        tenant=row.tenant,
        sku=row.sku,
        price_version=row.price_version,
        corrects=corrects,
        currency=prices[row.price_version].currency,
        **{name: getattr(row, name) for name in _COUNTED},
    )


def taken_back_micro(connection: sa.Connection, number: str) -> int:
    """What credit notes have taken back of an invoice."""
    found = sa.select(sa.func.sum(_invoices.total_micro)).where(_invoices.refers == number)
    return -int(connection.execute(found).scalar() or 0)


def credit_left(connection: sa.Connection) -> dict[tuple[str, str], int]:
    """Prepaid credit that no invoice was paid from yet, by tenant and currency."""
    left = paid_in(connection)
    spent = connection.execute(
        sa.select(
            _invoices.tenant,
            _invoices.currency,
            sa.func.sum(_invoices.credit_micro).label("micro"),
        )
        .where(_invoices.kind == INVOICE, _invoices.credit_micro != 0)
        .group_by(_invoices.tenant, _invoices.currency)
    )
    for row in spent:
        key = (row.tenant, row.currency)
        left[key] = left.get(key, 0) - int(row.micro)
    return left
