"""Which accounts does money move between?

Double entry: every transaction's postings sum to zero in each currency; a debit is above zero, a
credit below. Revenue stands against what tenants owe; payout, energy, depreciation, rent and
hosting against whom they are owed to; what devices cost while nobody paid for them is an account
of its own for each reason, so that the margin on what was sold can be read off. It does not know
how amounts come about, nor tables.

Accounts: `receivable/TENANT`, `credit/TENANT` (prepaid), `cash`, `revenue/SKU`, `rounding`,
`goodwill` (credit notes); the kinds of cost and what they are owed to, `payable/KIND`
(`payable/OWNER` for payout, `accumulated_depreciation`); `idle/REASON`, `unknown`.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock_metering.core.billing import CREDIT_NOTE, ROUNDING, Document

CASH = "cash"
SOLD = "sold"
UNKNOWN = "unknown"
PAYOUT = "payout"
DEPRECIATION = "depreciation"


class Posting(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a transaction. `month`: the one it is about, where that is another than the one
    it stands in. `line`: the document's line, 0 = all of it."""

    account: str
    amount_micro: int
    currency: str
    tenant: str = ""
    month: str = ""
    line: int = 0


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What devices cost in a month, of one kind (payout, energy, depreciation, rent, hosting), by
    what became of it: `sold`, `unknown`, or why they were idle."""

    kind: str
    use: str
    currency: str
    amount_micro: int
    owner: str = ""


def post_document(document: Document) -> list[Posting]:
    """What issuing it means; for its credit, paying it too."""
    tenant, currency = document.tenant, document.currency
    found = [_owed(document, document.total_micro)]
    for number, item in enumerate(document.items, 1):
        found.append(
            Posting(
                account=_income(item.kind, item.line.sku if item.line else ""),
                amount_micro=-item.amount_micro,
                currency=currency,
                tenant=tenant,
                month=item.line.corrects if item.line else "",
                line=number,
            )
        )
    if document.credit_micro:
        found.append(_credit(tenant, currency, document.credit_micro))
        found.append(_owed(document, -document.credit_micro))
    return [posting for posting in found if posting.amount_micro]


def _owed(document: Document, amount_micro: int) -> Posting:
    return Posting(
        account=f"receivable/{document.tenant}",
        amount_micro=amount_micro,
        currency=document.currency,
        tenant=document.tenant,
    )


def _credit(tenant: str, currency: str, amount_micro: int) -> Posting:
    return Posting(
        account=f"credit/{tenant}", amount_micro=amount_micro, currency=currency, tenant=tenant
    )


def _income(kind: str, sku: str) -> str:
    if kind == ROUNDING:
        return "rounding"
    return "goodwill" if kind == CREDIT_NOTE else f"revenue/{sku}"


def post_credit(tenant: str, currency: str, amount_micro: int) -> list[Posting]:
    """Credit that a tenant has paid in advance; below zero: that was paid back."""
    cash = Posting(account=CASH, amount_micro=amount_micro, currency=currency, tenant=tenant)
    return [cash, _credit(tenant, currency, -amount_micro)]


def post_costs(month: str, costs: Iterable[Cost]) -> list[Posting]:
    """What the devices cost in a month. Idle cost leaves the account of its kind."""
    sums: dict[tuple[str, str], int] = {}
    for cost in costs:
        if cost.use == SOLD:
            spent = cost.kind
        else:
            spent = UNKNOWN if cost.use == UNKNOWN else f"idle/{cost.use}"
        for account, amount in ((spent, cost.amount_micro), (_owed_to(cost), -cost.amount_micro)):
            key = (account, cost.currency)
            sums[key] = sums.get(key, 0) + amount
    return [
        Posting(account=account, amount_micro=amount, currency=currency, month=month)
        for (account, currency), amount in sorted(sums.items())
        if amount
    ]


def _owed_to(cost: Cost) -> str:
    if cost.kind == DEPRECIATION:
        return "accumulated_depreciation"
    return f"payable/{cost.owner or cost.kind}"


def less(postings: Iterable[Posting], before: Iterable[Posting]) -> list[Posting]:
    """What must be added to `before` so that it comes to `postings`, by account."""
    sums: dict[tuple[str, str, str, str], int] = {}
    for sign, side in ((1, postings), (-1, before)):
        for posting in side:
            key = (posting.account, posting.currency, posting.tenant, posting.month)
            sums[key] = sums.get(key, 0) + sign * posting.amount_micro
    return [
        Posting(account=key[0], currency=key[1], tenant=key[2], month=key[3], amount_micro=amount)
        for key, amount in sorted(sums.items())
        if amount
    ]


def imbalance_micro(postings: Iterable[Posting]) -> dict[str, int]:
    """By currency, where a transaction's postings do not sum to zero."""
    sums: dict[str, int] = {}
    for posting in postings:
        sums[posting.currency] = sums.get(posting.currency, 0) + posting.amount_micro
    return {currency: amount for currency, amount in sorted(sums.items()) if amount}
