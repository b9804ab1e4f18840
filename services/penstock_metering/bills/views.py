"""What is answered about bills, accounts and what was posted?

Documents as they were issued, and for an open month drafts: what would be issued if it were closed
now. It does not change anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
import sqlalchemy as sa

from penstock_contracts.bills import (
    DRAFT,
    AccountBalance,
    AccountsQuery,
    AccountsView,
    Bill,
    BillLine,
    BillsQuery,
    BillsView,
    ProjectShare,
)
from penstock_contracts.prices import PriceVersion
from penstock_contracts.queries import PAGE_BYTES_MAX
from penstock_metering.bills import tables
from penstock_metering.bills.contents import (
    closed_ms,
    credit_left,
    decode_party,
    open_lines,
    party_of,
    read_parties,
    read_prices,
)
from penstock_metering.bills.issuing import line_values
from penstock_metering.bills.other_postings import unposted_costs, unposted_credit
from penstock_metering.core.allocation import allocate
from penstock_metering.core.billing import Document, draw_up
from penstock_metering.core.months import month_bounds_ms, month_of
from penstock_metering.core.postings import Posting, post_document
from penstock_metering.rating.tables import usage_days

_encode = msgspec.json.Encoder().encode
_invoices, _lines = tables.invoices, tables.invoice_lines

Weights = dict[tuple[str, str, int, str], dict[str, int]]
"""By tenant, SKU, price version and corrected month: what each project is to pay of it."""


def answer_bills(connection: sa.Connection, query: BillsQuery, now_ms: int) -> BillsView:
    month = query.month or month_of(now_ms)
    closed = closed_ms(connection, month)
    found = list(_issued(connection, month, query.tenant))
    if closed is None:
        found += _drafts(connection, month, query.tenant)
    page, more = _page(found, query.after)
    return BillsView(month=month, now_ms=now_ms, closed_ms=closed, bills=page, more=more)


def bill_of(connection: sa.Connection, number: str) -> Bill:
    """One that was issued."""
    found = sa.select(_invoices).where(_invoices.c.number == number)
    row = connection.execute(found).one()
    return next(bill for bill in _bills(connection, [row], row.period))


def answer_accounts(connection: sa.Connection, query: AccountsQuery, now_ms: int) -> AccountsView:
    month = query.month or month_of(now_ms)
    closed = closed_ms(connection, month)
    sides: dict[tuple[str, str], list[int]] = {}
    postings = list(_posted(connection, month))
    if closed is None:
        postings += _to_be_posted(connection, month, now_ms)
    for posting in postings:
        side = sides.setdefault((posting.account, posting.currency), [0, 0])
        side[posting.amount_micro < 0] += abs(posting.amount_micro)
    accounts = tuple(
        AccountBalance(account=account, currency=currency, debit_micro=debit, credit_micro=credit)
        for (account, currency), (debit, credit) in sorted(sides.items())
    )
    return AccountsView(month=month, closed_ms=closed, accounts=accounts)


def _posted(connection: sa.Connection, month: str) -> Iterator[Posting]:
    of = tables.postings.c
    rows = connection.execute(
        sa.select(of.account, of.currency, of.amount_micro).where(of.period == month)
    )
    for row in rows:
        yield Posting(account=row.account, currency=row.currency, amount_micro=row.amount_micro)


def _to_be_posted(connection: sa.Connection, month: str, now_ms: int) -> Iterator[Posting]:
    """If the month were closed now."""
    for document in draw_up(open_lines(connection, month), credit_left(connection)):
        yield from post_document(document)
    yield from chain(*unposted_credit(connection, month))
    yield from chain(*unposted_costs(connection, month, now_ms))


def _page(found: Sequence[Bill], after: str) -> tuple[tuple[Bill, ...], bool]:
    """As many as one message holds, of those behind that name."""
    names = [bill.name for bill in found]
    begin = names.index(after) + 1 if after in names else 0
    page: list[Bill] = []
    room = PAGE_BYTES_MAX
    for bill in found[begin:]:
        room -= len(_encode(bill))
        if page and room < 0:
            return tuple(page), True
        page.append(bill)
    return tuple(page), False


def _issued(connection: sa.Connection, month: str, tenant: str) -> Iterator[Bill]:
    only = [_invoices.c.tenant == tenant] if tenant else []
    rows = connection.execute(
        sa.select(_invoices)
        .where(_invoices.c.period == month, *only)
        .order_by(_invoices.c.invoice_id)
    ).all()
    return _bills(connection, rows, month)


def _bills(connection: sa.Connection, rows: Sequence[Any], month: str) -> Iterator[Bill]:
    prices = read_prices(connection)
    weights = _project_weights(connection, month) if rows else {}
    lines: dict[int, list[Any]] = {row.invoice_id: [] for row in rows}
    stored = connection.execute(
        sa.select(_lines)
        .join(_invoices, _invoices.c.invoice_id == _lines.c.invoice_id)
        .where(_invoices.c.period == month)
        .order_by(_lines.c.invoice_id, _lines.c.number)
    )
    for line in stored:
        if line.invoice_id in lines:
            lines[line.invoice_id].append(line._mapping)
    start_ms, end_ms = month_bounds_ms(month)
    for row in rows:
        own = lines[row.invoice_id]
        yield Bill(
            name=row.number,
            number=row.number,
            kind=row.kind,
            tenant=row.tenant,
            month=month,
            currency=row.currency,
            from_ms=start_ms,
            to_ms=end_ms,
            issued_ms=row.issued_ms,
            total_micro=row.total_micro,
            credit_micro=row.credit_micro,
            lines=tuple(bill_line(line, prices) for line in own),
            projects=_shares(row.tenant, own, weights),
            refers=row.refers,
            reason=row.reason,
            issuer=decode_party(row.issuer),
            customer=decode_party(row.customer),
        )


def _drafts(connection: sa.Connection, month: str, tenant: str) -> Iterator[Bill]:
    prices = read_prices(connection)
    weights = _project_weights(connection, month)
    documents = draw_up(open_lines(connection, month, tenant), credit_left(connection))
    known = read_parties(connection)
    for document in documents:
        lines = [line_values(number, item) for number, item in enumerate(document.items, 1)]
        start_ms, end_ms = month_bounds_ms(month)
        yield Bill(
            name=_draft_name(document),
            number="",
            kind=document.kind,
            tenant=document.tenant,
            month=month,
            currency=document.currency,
            from_ms=start_ms,
            to_ms=end_ms,
            issued_ms=None,
            total_micro=document.total_micro,
            credit_micro=document.credit_micro,
            lines=tuple(bill_line(line, prices) for line in lines),
            projects=_shares(document.tenant, lines, weights),
            issuer=party_of("", known),
            customer=party_of(document.tenant, known),
        )


def _draft_name(document: Document) -> str:
    return f"{DRAFT}/{document.tenant}/{document.currency}"


def bill_line(line: Mapping[str, Any], prices: Mapping[int, PriceVersion]) -> BillLine:
    price = prices.get(line["price_version"])
    return BillLine(
        number=line["number"],
        kind=line["kind"],
        amount_micro=line["amount_micro"],
        sku=line["sku"],
        price_version=line["price_version"],
        tier=price.tier if price else "",
        site=price.site if price else "",
        unit=price.unit if price else "",
        price_micro=price.micro if price else 0,
        discount_ppm=price.discount_ppm if price else 0,
        used_quantity=line["quantity"],
        billed_quantity=line["billed_quantity"],
        free_quantity=line["free_quantity"],
        corrects=line["corrects"],
        refers=line["refers"],
    )


def _project_weights(connection: sa.Connection, month: str) -> Weights:
    days = usage_days.c
    key = (days.tenant, days.sku, days.price_version, days.corrects, days.project)
    rows = connection.execute(
        sa.select(*key, sa.func.sum(days.billed_quantity).label("billed"))
        .where(days.period == month)
        .group_by(*key)
        .order_by(*key)
    )
    weights: Weights = {}
    for row in rows:
        line = (row.tenant, row.sku, row.price_version, row.corrects)
        weights.setdefault(line, {})[row.project] = int(row.billed)
    return weights


def _shares(
    tenant: str, lines: Sequence[Mapping[str, Any]], weights: Weights
) -> tuple[ProjectShare, ...]:
    """None where there is but one project."""
    sums: dict[str, int] = {}
    for line in lines:
        key = (tenant, line["sku"], line["price_version"], line["corrects"])
        by_project = weights.get(key, {})
        parts = allocate(line["amount_micro"], list(by_project.values()))
        for project, part in zip(by_project, parts, strict=True):
            sums[project] = sums.get(project, 0) + part
    if len(sums) < 2:
        return ()
    return tuple(ProjectShare(project, amount) for project, amount in sorted(sums.items()))
