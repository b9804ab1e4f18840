"""What does the use of a month amount to, line by line?

A line is all use of one tenant, SKU and price version in a month: the quantities are summed, the
free allowance is taken off, and only then is it multiplied and rounded, once. Use of a month that
is closed makes a line in a later one that corrects it: the month as it is now less what was
billed for it, so that what is billed in all does not depend on when things became known. It does
not know invoices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from penstock_contracts.prices import PriceVersion, money_micro


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """Use that posts to one period. `quantity` was used, `billed_quantity` is to be paid (of states
    that cost, with granularity and minimum); less than zero where it takes back. `corrects`: the
    closed month it was in; empty = the period's own. `price_version` 0 = there was no price."""

    tenant: str
    sku: str
    price_version: int
    corrects: str = ""
    quantity: int
    billed_quantity: int


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """`billed_quantity` less `free_quantity` makes `amount_micro` of `currency`."""

    tenant: str
    sku: str
    price_version: int
    corrects: str = ""
    currency: str
    quantity: int
    billed_quantity: int
    free_quantity: int
    amount_micro: int


_Key = tuple[str, str, int]
"""Tenant, SKU, price version."""


class _Sum:
    """Quantities, free quantity and amount of one key in one month of use."""

    __slots__ = ("amount_micro", "billed", "free", "quantity")

    def __init__(self) -> None:
        self.quantity = self.billed = self.free = self.amount_micro = 0


def line_amounts(
    uses: Iterable[Use], prices: Mapping[int, PriceVersion], billed: Iterable[Line] = ()
) -> list[Line]:
    """The lines of one period, by tenant, SKU, version and the month they correct.

    `billed` are the lines that are closed, of every month that some use corrects: each as it stood
    in its own period or in one after it, with `corrects` as the month of use.
    """
    now = _sums_by_month(uses)
    before = _sums_by_month(())
    for line in billed:
        known = _at(before.setdefault(line.corrects, {}), line)
        known.quantity += line.quantity
        known.billed += line.billed_quantity
        known.free += line.free_quantity
        known.amount_micro += line.amount_micro
    lines = []
    for month, sums in now.items():
        earlier = before.get(month, {}) if month else {}
        lines += _lines_of(month, sums, earlier, prices)
    return sorted(lines, key=lambda own: (own.tenant, own.sku, own.price_version, own.corrects))


def _sums_by_month(uses: Iterable[Use]) -> dict[str, dict[_Key, _Sum]]:
    months: dict[str, dict[_Key, _Sum]] = {}
    for use in uses:
        if use.price_version:
            found = _at(months.setdefault(use.corrects, {}), use)
            found.quantity += use.quantity
            found.billed += use.billed_quantity
    return months


def _at(sums: dict[_Key, _Sum], item: Use | Line) -> _Sum:
    return sums.setdefault((item.tenant, item.sku, item.price_version), _Sum())


def _lines_of(
    month: str,
    added: dict[_Key, _Sum],
    earlier: dict[_Key, _Sum],
    prices: Mapping[int, PriceVersion],
) -> list[Line]:
    """Lines of one month of use. An allowance that is used up elsewhere now may also move the
    amount of a key without new use."""
    touched = {(key[0], prices[key[2]].sku) for key in added}
    own = [key for key in (*added, *earlier) if (key[0], prices[key[2]].sku) in touched]
    nothing = _Sum()
    taken: dict[tuple[str, str], int] = {}
    lines = []
    for key in sorted(set(own), key=lambda key: (key[2], key[0], key[1])):
        new, old, price = added.get(key, nothing), earlier.get(key, nothing), prices[key[2]]
        total = old.billed + new.billed
        group = (key[0], price.sku)
        free = max(0, min(total, price.free_quantity - taken.get(group, 0)))
        taken[group] = taken.get(group, 0) + free
        line = Line(
            tenant=key[0],
            sku=key[1],
            price_version=key[2],
            corrects=month,
            currency=price.currency,
            quantity=new.quantity,
            billed_quantity=new.billed,
            free_quantity=free - old.free,
            amount_micro=money_micro(total - free, price) - old.amount_micro,
        )
        if key in added or line.amount_micro or line.free_quantity:
            lines.append(line)
    return lines
