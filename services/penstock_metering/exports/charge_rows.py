"""Which charges does a month have, as the ledger knows it?

Reads rated use, the month's lines and documents, and for the provider its costs, from one snapshot,
and hands out charges one after the other. It does not know pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa

from penstock_contracts.exports import Charge
from penstock_metering.bills import tables as bills
from penstock_metering.bills.contents import closed_ms, read_lines, read_prices
from penstock_metering.core.billing import USAGE
from penstock_metering.core.charges import BilledLine, Dealer, UseOfDay
from penstock_metering.rating import tables as rating

ROWS_AT_ONCE = 2_000
_rated, _invoices, _lines = rating.rated, bills.invoices, bills.invoice_lines


def read_charges(
    connection: sa.Connection, month: str, tenant: str, provider: bool, now_ms: int
) -> Iterator[Charge]:
    """All charges of the month, those of use in the order of devices' days."""
    prices = read_prices(connection)
    documents = _documents(connection, month, tenant)
    numbers = {
        (row.tenant, row.sku, row.price_version, row.corrects): (row.document, row.number)
        for row in documents
        if row.kind == USAGE
    }
    lines = [
        BilledLine(own, *numbers.get((own.tenant, own.sku, own.price_version, own.corrects), ()))
        for own in read_lines(connection, month, tenant)
    ]
    charges: Iterable[Charge] = Dealer(lines, prices).deal(_uses(connection, month, tenant))
    if provider:
        # numpy is for the provider alone
        from penstock_metering.exports.provider_costs import bear_costs

        charges = bear_costs(connection, charges, month, now_ms)
    yield from charges
    yield from (_beside_use(row) for row in documents if row.kind != USAGE)


def is_closed(connection: sa.Connection, month: str) -> bool:
    return closed_ms(connection, month) is not None


def _uses(connection: sa.Connection, month: str, tenant: str) -> Iterator[UseOfDay]:
    c = _rated.c
    key = (
        c.day, c.node, c.device, c.tenant, c.project, c.tier, c.site, c.model, c.sku,
        c.price_version, c.corrects,
    )  # fmt: skip
    counts = sa.or_(c.state.in_(("running", "flat")), c.billed_quantity != 0)
    statement = (
        sa.select(
            *key,
            sa.func.sum(c.quantity).label("consumed"),
            sa.func.sum(c.billed_quantity).label("billed"),
        )
        .where(c.period == month, counts, *([c.tenant == tenant] if tenant else []))
        .group_by(*key)
        .order_by(*key)
    )
    options = {"yield_per": ROWS_AT_ONCE}
    with connection.execute(statement, execution_options=options) as rows:
        for row in rows:
            values: dict[str, Any] = dict(row._mapping)
            values["consumed"], values["billed"] = int(row.consumed), int(row.billed)
            yield UseOfDay(**values)


def _documents(connection: sa.Connection, month: str, tenant: str) -> list[Any]:
    """Every line of every document of the month; `refers_period` is the month of the invoice that
    a credit note takes back from."""
    referred = _invoices.alias("referred")
    statement = (
        sa.select(
            _lines,
            _invoices.c.number.label("document"),
            _invoices.c.currency,
            _invoices.c.reason,
            referred.c.period.label("refers_period"),
        )
        .join(_invoices, _invoices.c.invoice_id == _lines.c.invoice_id)
        .outerjoin(referred, referred.c.number == _invoices.c.refers)
        .where(_invoices.c.period == month, *([_invoices.c.tenant == tenant] if tenant else []))
        .order_by(_lines.c.invoice_id, _lines.c.number)
    )
    return list(connection.execute(statement))


def _beside_use(row: Any) -> Charge:
    is_rounding = row.kind == "rounding"
    return Charge(
        kind="rounding" if is_rounding else "credit",
        currency=row.currency,
        billed_micro=row.amount_micro,
        tenant=row.tenant,
        corrects=row.corrects or row.refers_period or "",
        invoice=row.document,
        invoice_line=row.number,
        text="" if is_rounding else row.reason or "Credit note",
    )
