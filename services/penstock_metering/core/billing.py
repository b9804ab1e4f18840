"""What does a bill consist of?

One document for each tenant and currency of a period: its lines, and one more that rounds their
sum to what can be paid. A document whose sum is below zero is a credit note. Another credit note
takes back what an issued invoice asks for. It does not know numbers, dates or tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from penstock_metering.core.lines import Line

INVOICE = "invoice"
CREDIT_NOTE = "credit_note"
USAGE = "usage"
ROUNDING = "rounding"
"""Kinds of lines; the line of a credit note is of kind `credit_note`."""

MICRO_DIGITS = 6
MINOR_DIGITS = {
    **dict.fromkeys(("CLP", "ISK", "JPY", "KRW", "PYG", "UGX", "VND", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}
"""Digits behind the point in which a currency is paid, where they are not two (ISO 4217)."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a document. `line` is the use it stands for; None for a rounding or a credit.
    `refers`: the line of the invoice that is taken back; 0 = no one line."""

    kind: str
    amount_micro: int
    line: Line | None = None
    refers: int = 0


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """`total_micro` is the sum of its items, and can be paid. `credit_micro` of it is paid from
    prepaid credit. `refers`: the number of the invoice that a credit note takes back from."""

    kind: str
    tenant: str
    currency: str
    items: tuple[Item, ...]
    total_micro: int
    credit_micro: int = 0
    refers: str = ""
    reason: str = ""

    @property
    def due_micro(self) -> int:
        return self.total_micro - self.credit_micro


def payable_micro(amount_micro: int, currency: str) -> int:
    """The nearest amount that can be paid, half to even."""
    unit = minor_unit_micro(currency)
    whole, rest = divmod(amount_micro, unit)
    return (whole + (2 * rest > unit or (2 * rest == unit and whole % 2 == 1))) * unit


def minor_unit_micro(currency: str) -> int:
    """The least amount that can be paid: a cent, a yen."""
    return int(10 ** (MICRO_DIGITS - MINOR_DIGITS.get(currency, 2)))


def draw_up(
    lines: Iterable[Line], credit_micro: Mapping[tuple[str, str], int] | None = None
) -> list[Document]:
    """The documents of a period, by tenant and currency. `credit_micro`: prepaid credit that is
    there, by tenant and currency; an invoice takes as much of it as it asks for, in amounts that
    can be paid."""
    found: dict[tuple[str, str], list[Item]] = {}
    for line in lines:
        item = Item(kind=USAGE, amount_micro=line.amount_micro, line=line)
        found.setdefault((line.tenant, line.currency), []).append(item)
    there = credit_micro or {}
    return [
        _document(tenant, currency, items, there.get((tenant, currency), 0))
        for (tenant, currency), items in sorted(found.items())
    ]


def _document(tenant: str, currency: str, items: list[Item], there_micro: int) -> Document:
    exact, unit = sum(item.amount_micro for item in items), minor_unit_micro(currency)
    total = payable_micro(exact, currency)
    if exact <= there_micro < total:
        total -= unit  # who has paid for all of it in advance owes nothing
    if total != exact:
        items = [*items, Item(kind=ROUNDING, amount_micro=total - exact)]
    return Document(
        kind=CREDIT_NOTE if total < 0 else INVOICE,
        tenant=tenant,
        currency=currency,
        items=tuple(items),
        total_micro=total,
        credit_micro=max(0, min(total, there_micro) // unit * unit),
    )


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice that was sent, as far as a credit note must know it. `taken_back_micro`: by the
    credit notes that refer to it. `line_micro`: the line in question; None = all of it."""

    number: str
    tenant: str
    currency: str
    total_micro: int
    taken_back_micro: int = 0
    line_micro: int | None = None


def take_back(
    issued: Issued, wanted_micro: int | None, reason: str, line: int = 0
) -> Document | str:
    """A credit note over `wanted_micro` (None = all that is left), or why there is none."""
    left = issued.total_micro - issued.taken_back_micro
    if issued.line_micro is not None:
        left = min(left, payable_micro(issued.line_micro, issued.currency))
    if left <= 0:
        return f"nothing is left of {issued.number} to take back"
    amount = left if wanted_micro is None else wanted_micro
    if amount != payable_micro(amount, issued.currency) or amount <= 0:
        return f"{issued.currency} is not paid in such amounts"
    if amount > left:
        return f"more than what is left of {issued.number} to take back"
    item = Item(kind=CREDIT_NOTE, amount_micro=-amount, refers=line)
    return Document(
        kind=CREDIT_NOTE,
        tenant=issued.tenant,
        currency=issued.currency,
        items=(item,),
        total_micro=-amount,
        refers=issued.number,
        reason=reason,
    )
