"""How is a month closed, and how is something taken back afterwards?

Commands, each within one transaction of the writer. Closing issues the month's documents, posts
them with what devices cost, and from then on nothing is added to it: what comes late posts to the
first month that is open. It does not know how lines are made.
"""

from __future__ import annotations

import sqlalchemy as sa

from penstock_contracts.bills import (
    Bill,
    ClosePeriod,
    CreditInvoice,
    Party,
    PeriodClosed,
    SetParty,
)
from penstock_contracts.errors import Refusal
from penstock_metering.bills import tables
from penstock_metering.bills.contents import (
    closed_until,
    credit_left,
    open_lines,
    read_party,
    taken_back_micro,
)
from penstock_metering.bills.issuing import issue, post
from penstock_metering.bills.other_postings import unposted_costs, unposted_credit
from penstock_metering.bills.views import bill_of
from penstock_metering.core.billing import INVOICE, Document, Issued, draw_up, take_back
from penstock_metering.core.months import month_bounds_ms, month_of, next_month, posting_month
from penstock_metering.deriving import derive_all
from penstock_metering.ledger import schema
from penstock_metering.ledger.database import POSTGRESQL
from penstock_metering.rating import tables as rating

LONG_SILENCE = "idle_in_transaction_session_timeout = '120s'"
"""A month's cost is computed for seconds without a word to the database, which otherwise takes a
silent writer for a frozen one."""

_invoices, _lines = tables.invoices.c, tables.invoice_lines.c


def close_period(
    connection: sa.Connection, wish: ClosePeriod, now_ms: int
) -> PeriodClosed | Refusal:
    """What has arrived is rated first."""
    if connection.dialect.name == POSTGRESQL:
        connection.exec_driver_sql(f"SET LOCAL {LONG_SILENCE}")
    derive_all(connection, now_ms)
    due = month_to_close(connection, now_ms)
    month = wish.month or due
    refusal = _why_not(month, due, closed_until(connection), now_ms)
    if refusal is not None:
        return refusal
    documents = draw_up(open_lines(connection, month), credit_left(connection))
    issue(connection, documents, month, now_ms)
    beside = [*unposted_credit(connection, month), *unposted_costs(connection, month, now_ms)]
    post(connection, [(0, postings) for postings in beside], month, now_ms)
    unfinished = _unfinished(connection, month)
    batches = sa.select(sa.func.max(schema.usage_batches.c.number))
    connection.execute(
        sa.insert(tables.periods).values(
            month=month,
            closed_ms=now_ms,
            usage_batch=connection.execute(batches).scalar() or 0,
            unfinished=unfinished,
        )
    )
    return PeriodClosed(
        month=month,
        closed_ms=now_ms,
        documents=len(documents),
        totals_micro=_totals(documents),
        unfinished=unfinished,
    )


def month_to_close(connection: sa.Connection, now_ms: int) -> str:
    """The one behind the last that is closed; else the first with use, or the present one."""
    closed = closed_until(connection)
    if closed:
        return next_month(closed)
    first = connection.execute(sa.select(sa.func.min(rating.usage_days.c.period))).scalar()
    return first or month_of(now_ms)


def _why_not(month: str, due: str, closed: str, now_ms: int) -> Refusal | None:
    if closed and month <= closed:
        return Refusal("period_closed", f"{month} is closed", "month")
    if now_ms < month_bounds_ms(month)[1]:
        return Refusal("period_not_over", f"{month} is not over yet (UTC)", "month")
    if month > due:
        return Refusal("period_before_open", f"{due} is to be closed first", "month")
    if month < due:
        return Refusal("period_closed", f"there is no use before {due}", "month")
    return None


def _unfinished(connection: sa.Connection, month: str) -> int:
    leases = schema.leases.c
    still = (leases.granted_ms < month_bounds_ms(month)[1], leases.released_seq.is_(None))
    return connection.execute(sa.select(sa.func.count()).where(*still)).scalar_one()


def _totals(documents: list[Document]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for document in documents:
        totals[document.currency] = totals.get(document.currency, 0) + document.total_micro
    return dict(sorted(totals.items()))


def credit_invoice(connection: sa.Connection, wish: CreditInvoice, now_ms: int) -> Bill | Refusal:
    """Issued at once, in the month that is open now."""
    row = connection.execute(
        sa.select(tables.invoices).where(
            _invoices.number == wish.invoice, _invoices.kind == INVOICE
        )
    ).one_or_none()
    if row is None:
        return Refusal("unknown_invoice", f"there is no invoice {wish.invoice}", "invoice")
    line_micro = None
    if wish.line:
        own = (_lines.invoice_id == row.invoice_id, _lines.number == wish.line)
        line_micro = connection.execute(sa.select(_lines.amount_micro).where(*own)).scalar()
        if line_micro is None:
            return Refusal("unknown_invoice", f"{wish.invoice} has no such line", "line")
    issued = Issued(
        number=row.number,
        tenant=row.tenant,
        currency=row.currency,
        total_micro=row.total_micro,
        taken_back_micro=taken_back_micro(connection, row.number),
        line_micro=line_micro,
    )
    document = take_back(issued, wish.amount_micro, wish.reason, wish.line)
    if isinstance(document, str):
        return Refusal("too_much_credit", document, "amount_micro")
    period = posting_month(month_of(now_ms), closed_until(connection))
    (number,) = issue(connection, [document], period, now_ms)
    return bill_of(connection, number)


def set_party(connection: sa.Connection, wish: SetParty, now_ms: int) -> Party:
    known = tables.parties
    values = {"name": wish.name, "address": wish.address, "tax_id": wish.tax_id}
    connection.execute(sa.delete(known).where(known.c.tenant == wish.tenant))
    connection.execute(sa.insert(known).values(tenant=wish.tenant, **values))
    return read_party(connection, wish.tenant)
