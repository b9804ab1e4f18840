"""How do documents and postings come into the ledger?

Numbered without gaps, each with the parties as they stand now, and nothing that does not sum. What
was issued is never changed. It does not know why something is issued.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from penstock_contracts.errors import InvariantError
from penstock_metering.bills import tables
from penstock_metering.bills.contents import party_of, read_parties
from penstock_metering.core.billing import CREDIT_NOTE, INVOICE, Document, Item
from penstock_metering.core.postings import Posting, imbalance_micro, post_document

PREFIXES = {INVOICE: "INV", CREDIT_NOTE: "CN"}
"""Each kind of document is numbered by itself."""

_encode = msgspec.json.Encoder().encode
_invoices, _lines, _postings = tables.invoices, tables.invoice_lines, tables.postings


def issue(
    connection: sa.Connection, documents: Sequence[Document], period: str, now_ms: int
) -> list[str]:
    """Store and post them in the period; their numbers."""
    first = (connection.execute(sa.select(sa.func.max(_invoices.c.invoice_id))).scalar() or 0) + 1
    counts = {kind: _count(connection, kind) for kind in PREFIXES}
    known = read_parties(connection)
    issuer = _encode(party_of("", known)).decode()
    heads, lines, numbers = [], [], []
    for invoice_id, document in enumerate(documents, first):
        if sum(item.amount_micro for item in document.items) != document.total_micro:
            raise InvariantError(f"a document of {document.tenant} does not sum to its total")
        counts[document.kind] += 1
        numbers.append(f"{PREFIXES[document.kind]}-{counts[document.kind]:06}")
        heads.append(
            {
                "invoice_id": invoice_id,
                "number": numbers[-1],
                "kind": document.kind,
                "tenant": document.tenant,
                "period": period,
                "currency": document.currency,
                "issued_ms": now_ms,
                "total_micro": document.total_micro,
                "credit_micro": document.credit_micro,
                "refers": document.refers,
                "reason": document.reason,
                "issuer": issuer,
                "customer": _encode(party_of(document.tenant, known)).decode(),
            }
        )
        lines += [
            {
                "invoice_id": invoice_id,
                "tenant": document.tenant,
                **line_values(number, item),
            }
            for number, item in enumerate(document.items, 1)
        ]
    if heads:
        connection.execute(sa.insert(_invoices), heads)
        connection.execute(sa.insert(_lines), lines)
    post(
        connection,
        [
            (invoice_id, post_document(document))
            for invoice_id, document in enumerate(documents, first)
        ],
        period,
        now_ms,
    )
    return numbers


def post(
    connection: sa.Connection,
    transactions: Sequence[tuple[int, Sequence[Posting]]],
    period: str,
    now_ms: int,
) -> None:
    """Each transaction with the document it is for (0 = none). Raises InvariantError for one that
    does not sum to zero."""
    newest = connection.execute(
        sa.select(sa.func.max(_postings.c.number), sa.func.max(_postings.c.entry))
    ).one()
    number, entry = newest[0] or 0, newest[1] or 0
    rows = []
    for invoice_id, postings in transactions:
        if imbalance_micro(postings):
            raise InvariantError(f"postings of {period} do not sum to zero: {postings}")
        entry += 1
        for posting in postings:
            number += 1
            rows.append(
                {
                    "number": number,
                    "entry": entry,
                    "at_ms": now_ms,
                    "period": period,
                    "month": posting.month or period,
                    "account": posting.account,
                    "tenant": posting.tenant,
                    "currency": posting.currency,
                    "amount_micro": posting.amount_micro,
                    "invoice_id": invoice_id,
                    "line": posting.line,
                }
            )
    if rows:
        connection.execute(sa.insert(_postings), rows)


def posted(connection: sa.Connection, *only: sa.ColumnElement[bool]) -> list[Posting]:
    """The sums of what was posted, by account, tenant, month and currency."""
    of = _postings.c
    key = (of.account, of.tenant, of.month, of.currency)
    rows = connection.execute(
        sa.select(*key, sa.func.sum(of.amount_micro).label("amount_micro"))
        .where(*only)
        .group_by(*key)
        .order_by(*key)
    )
    return [
        Posting(
            account=row.account,
            tenant=row.tenant,
            month=row.month,
            currency=row.currency,
            amount_micro=int(row.amount_micro),
        )
        for row in rows
    ]


def _count(connection: sa.Connection, kind: str) -> int:
    found = sa.select(sa.func.count()).where(_invoices.c.kind == kind)
    return connection.execute(found).scalar_one()


def line_values(number: int, item: Item) -> dict[str, Any]:
    """A document's line as it is stored."""
    line = item.line
    return {
        "number": number,
        "kind": item.kind,
        "sku": line.sku if line else "",
        "price_version": line.price_version if line else 0,
        "corrects": line.corrects if line else "",
        "quantity": line.quantity if line else 0,
        "billed_quantity": line.billed_quantity if line else 0,
        "free_quantity": line.free_quantity if line else 0,
        "amount_micro": item.amount_micro,
        "refers": item.refers,
    }
