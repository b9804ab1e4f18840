"""Which tables do bills stand in?

All of them are facts: a closed period, its documents and what was posted are never changed, nor
made anew. What is open is computed when it is asked for.
"""

from __future__ import annotations

from sqlalchemy import Index

from penstock_metering.ledger.columns import integer, table, text

periods = table(
    "periods",
    text("month", key=True),
    integer("closed_ms"),
    integer("usage_batch"),
    integer("unfinished"),
)
"""The months that are closed; there is no gap between them. Segments of batches up to
`usage_batch` were in when it was closed, and `unfinished` leases had not sent all of theirs."""

parties = table("parties", text("tenant", key=True), text("name"), text("address"), text("tax_id"))
"""Who stands on bills: tenants, and as `` whoever sends them."""

invoices = table(
    "invoices",
    integer("invoice_id", key=True),
    text("number"),
    text("kind"),
    text("tenant"),
    text("period"),
    text("currency"),
    integer("issued_ms"),
    integer("total_micro"),
    integer("credit_micro"),
    text("refers"),
    text("reason"),
    text("issuer"),
    text("customer"),
    Index("invoices_number", "number", unique=True),
    Index("invoices_period", "period"),
)
"""Documents: `kind` is `invoice` or `credit_note`. `issuer` and `customer` are parties as they were
then, as JSON. `refers`: the number of the invoice that is taken back from."""

invoice_lines = table(
    "invoice_lines",
    integer("invoice_id", key=True),
    integer("number", key=True),
    text("tenant"),
    text("kind"),
    text("sku"),
    integer("price_version"),
    text("corrects"),
    integer("quantity"),
    integer("billed_quantity"),
    integer("free_quantity"),
    integer("amount_micro"),
    integer("refers"),
)
"""`kind`: `usage`, `rounding`, `credit_note`. They sum to their document's total."""

postings = table(
    "postings",
    integer("number", key=True),
    integer("entry"),
    integer("at_ms"),
    text("period"),
    text("month"),
    text("account"),
    text("tenant"),
    text("currency"),
    integer("amount_micro"),
    integer("invoice_id"),
    integer("line"),
    Index("postings_period", "period"),
)
"""Those of one `entry` sum to zero in each currency; debits are above zero. `period` is where it is
posted, `month` what it is about. `invoice_id` 0: no document."""
