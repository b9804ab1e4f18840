"""How do the lines of a bill divide into charges per device and day?

Use comes in the order of days; each line's amount is dealt out along it, so that the charges of a
line sum to it exactly, however many there are, and none needs to be kept. A free allowance covers
the first use of a month. It does not know where use and lines come from, nor who reads charges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from penstock_contracts.exports import Charge
from penstock_contracts.prices import Asked, PriceVersion, list_price, money_micro, unit_of
from penstock_metering.core.lines import Line
from penstock_metering.core.months import MS_PER_DAY


class UseOfDay(NamedTuple):
    """Use of one SKU on one device and day under one price; `billed` is what is to be paid, and may
    be less than zero where `corrects` names a closed month."""

    day: int
    tenant: str
    project: str
    tier: str
    site: str
    node: str
    device: str
    model: str
    sku: str
    price_version: int
    corrects: str
    consumed: int
    billed: int


class BilledLine(NamedTuple):
    """A line, and where it stands on an invoice (`invoice` empty: on none yet)."""

    line: Line
    invoice: str = ""
    number: int | None = None


CURRENCY = "USD"
"""Of what costs nothing, while there is no price."""
_Key = tuple[str, str, int, str]
"""Tenant, SKU, price version, month corrected."""


class _Rest:
    """What of a line is not dealt out yet."""

    __slots__ = ("billed", "free", "given_micro", "paid", "to_pay")

    def __init__(self, line: Line) -> None:
        self.billed = line.billed_quantity
        self.free = line.free_quantity
        self.to_pay = line.billed_quantity - line.free_quantity
        self.paid = self.given_micro = 0


class Dealer:
    """Deals the lines of one month out along its use."""

    def __init__(self, lines: Iterable[BilledLine], prices: Mapping[int, PriceVersion]) -> None:
        self._lines = {_key(own.line): own for own in lines}
        self._rests = {key: _Rest(own.line) for key, own in self._lines.items()}
        self._prices = prices
        self._invoices = {own.line.tenant: own.invoice for own in self._lines.values()}
        self._lists: dict[tuple[int, str, str, str, int], int] = {}

    def deal(self, uses: Iterable[UseOfDay]) -> Iterator[Charge]:
        """The charges of all use, in its order, and then what of a line had no use left to stand
        on."""
        for use in uses:
            key = (use.tenant, use.sku, use.price_version, use.corrects)
            own = self._lines.get(key)
            if own is None:
                yield self._charge(use, "usage", use.consumed, use.billed, 0, None)
            elif use.corrects:
                micro = money_micro(use.billed, self._prices[use.price_version])
                self._rests[key].given_micro += micro
                self._rests[key].billed -= use.billed
                yield self._charge(use, "usage", use.consumed, use.billed, micro, own)
            else:
                yield from self._deal_out(use, own, self._rests[key])
        for key, own in self._lines.items():
            yield from self._left_over(own, self._rests[key])

    def _deal_out(self, use: UseOfDay, own: BilledLine, rest: _Rest) -> Iterator[Charge]:
        free = min(use.billed, rest.free)
        free_consumed = use.consumed * free // use.billed if use.billed else 0
        rest.free -= free
        rest.billed -= use.billed
        if free:
            yield self._charge(use, "free", free_consumed, free, 0, own)
        if free and free == use.billed:
            return
        rest.paid += use.billed - free
        dealt = own.line.amount_micro * rest.paid // rest.to_pay if rest.to_pay else 0
        micro, rest.given_micro = dealt - rest.given_micro, dealt
        yield self._charge(
            use, "usage", use.consumed - free_consumed, use.billed - free, micro, own
        )

    def _left_over(self, own: BilledLine, rest: _Rest) -> Iterator[Charge]:
        line = own.line
        micro = line.amount_micro - rest.given_micro
        if micro or rest.billed:
            yield Charge(
                kind="usage",
                currency=line.currency,
                billed_micro=micro,
                tenant=line.tenant,
                sku=line.sku,
                unit=unit_of(line.sku),
                price_version=line.price_version,
                list_version=line.price_version,
                consumed=0,
                priced=rest.billed,
                corrects=line.corrects,
                invoice=own.invoice,
                invoice_line=own.number,
            )

    def _charge(
        self,
        use: UseOfDay,
        kind: str,
        consumed: int,
        priced: int,
        micro: int,
        own: BilledLine | None,
    ) -> Charge:
        return Charge(
            kind=kind,  # type: ignore[arg-type]
            currency=own.line.currency if own else self._currency(use.price_version),
            billed_micro=micro,
            tenant=use.tenant,
            project=use.project,
            tier=use.tier or "on_demand",
            site=use.site,
            node=use.node,
            device=use.device,
            model=use.model,
            sku=use.sku,
            unit=unit_of(use.sku),
            price_version=use.price_version,
            list_version=self._list_version(use),
            day=use.day,
            consumed=consumed,
            priced=priced,
            corrects=use.corrects,
            invoice=own.invoice if own else self._invoices.get(use.tenant, ""),
            invoice_line=own.number if own else None,
        )

    def _currency(self, price_version: int) -> str:
        """Of use without a price: the currency of the first price there was."""
        price = self._prices.get(price_version)
        if price is None and self._prices:
            price = self._prices[min(self._prices)]
        return price.currency if price is not None else CURRENCY

    def _list_version(self, use: UseOfDay) -> int:
        """What others pay for the same on that day."""
        price = self._prices.get(use.price_version)
        if price is None or not price.tenant:
            return use.price_version
        key = (use.price_version, use.sku, use.site, use.tier, use.day)
        known = self._lists.get(key)
        if known is None:
            at_ms = max(use.day * MS_PER_DAY, price.effective_from_ms)
            asked = Asked(use.sku, use.tenant, use.site, use.tier)
            found = list_price(self._prices.values(), asked, at_ms)
            known = self._lists[key] = found.version if found else use.price_version
        return known


def named_prices(
    charges: Iterable[Charge], prices: Mapping[int, PriceVersion]
) -> tuple[PriceVersion, ...]:
    """The versions that the charges name."""
    versions = {number for own in charges for number in (own.price_version, own.list_version)}
    return tuple(prices[number] for number in sorted(versions) if number in prices)


def _key(line: Line) -> _Key:
    return line.tenant, line.sku, line.price_version, line.corrects


def charge_size(charge: Charge) -> int:
    """Bytes on the wire."""
    return len(_encode(charge))


_encode = msgspec.json.Encoder().encode
