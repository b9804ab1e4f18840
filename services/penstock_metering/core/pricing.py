"""Which versions does a new price bring into the book?

The price itself; and for every tenant that has a discount off it another version of its own, where
its price is no longer what the discount makes of the list price. It does not know who asks, nor
what time it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock_contracts.errors import Refusal
from penstock_contracts.price_book import SetPrice
from penstock_contracts.prices import (
    PPM,
    Asked,
    PriceVersion,
    is_sku,
    list_price,
    resolve,
    unit_of,
)
from penstock_metering.core.book import DEFAULT_PRICES

_replace = msgspec.structs.replace
_PriceKey = tuple[str, str, str, str]
"""(SKU, tenant, site, tier)"""


def new_versions(
    book: Sequence[PriceVersion], wish: SetPrice, now_ms: int
) -> list[PriceVersion] | Refusal:
    """Numbered on from the book's last; the first is what was wished for."""
    from_ms = now_ms if wish.effective_from_ms is None else wish.effective_from_ms
    fault = _fault(book, wish, from_ms, now_ms)
    if fault is not None:
        return fault
    versions = list(book)
    pattern = _pattern(book, wish, from_ms)
    listed = list_price(book, Asked(wish.sku, "", wish.site, wish.tier), from_ms)
    micro = wish.micro
    if micro is None:
        if listed is None:
            return Refusal("no_list_price", f"there is no list price of {wish.sku}", "discount_ppm")
        micro = discounted_micro(listed.micro, wish.discount_ppm or 0)
    said = {
        name: value
        for name in ("granularity_ms", "minimum_ms", "billable", "free_quantity")
        if (value := getattr(wish, name)) is not None
    }
    version = _replace(
        pattern,
        sku=wish.sku,
        version=_next(versions),
        effective_from_ms=from_ms,
        unit=unit_of(wish.sku),
        micro=micro,
        currency=wish.currency or book[-1].currency,
        tenant=wish.tenant,
        site=wish.site,
        tier=wish.tier,
        discount_ppm=wish.discount_ppm or 0,
        **said,
    )
    versions.append(version)
    if version.currency != book[-1].currency:
        _convert(versions, version)
    _follow_list(versions, from_ms)
    return versions[len(book) :]


def discounted_micro(micro: int, discount_ppm: int) -> int:
    """Rounded half to even."""
    whole, rest = divmod(micro * (PPM - discount_ppm), PPM)
    return whole + (2 * rest > PPM or (2 * rest == PPM and whole % 2 == 1))


def _fault(
    book: Sequence[PriceVersion], wish: SetPrice, from_ms: int, now_ms: int
) -> Refusal | None:
    if not is_sku(wish.sku):
        sentence = f"{wish.sku} is not sold; gpu/MODEL, gpu, cpu, memory, energy and job are"
        return Refusal("unknown_sku", sentence, "sku")
    if (wish.micro is None) == (wish.discount_ppm is None):
        return Refusal("contradiction", "give either a price or a discount", "micro")
    if wish.discount_ppm is not None and not wish.tenant:
        return Refusal("contradiction", "a discount is a tenant's: name the tenant", "tenant")
    if from_ms < now_ms:
        sentence = "a price holds from now on or later; what was used before has its price"
        return Refusal("price_in_past", sentence, "effective_from_ms")
    is_other = wish.currency is not None and wish.currency != book[-1].currency
    if is_other and (len(book) > len(DEFAULT_PRICES) or wish.micro is None):
        sentence = f"the price book is in {book[-1].currency}, and is kept in one currency"
        return Refusal("other_currency", sentence, "currency")
    return None


def _pattern(book: Sequence[PriceVersion], wish: SetPrice, from_ms: int) -> PriceVersion:
    """What is not said stays as in the price that held so far, if one of its own unit did."""
    asked = Asked(wish.sku, wish.tenant, wish.site, wish.tier)
    own = _latest(book, (wish.sku, wish.tenant, wish.site, wish.tier), from_ms)
    held = own or resolve(book, asked, from_ms)
    if held is not None:
        return held if own is not None else _replace(held, free_quantity=0)
    unit = unit_of(wish.sku)
    return PriceVersion(sku=wish.sku, version=0, effective_from_ms=0, unit=unit, micro=0)


def _convert(versions: list[PriceVersion], first: PriceVersion) -> None:
    """The book had only the prices of a new mesh: they go over into the other currency."""
    for default in DEFAULT_PRICES:
        if (default.sku, "", "", "") != _key(first):
            moved = _replace(
                default,
                version=_next(versions),
                effective_from_ms=first.effective_from_ms,
                currency=first.currency,
            )
            versions.append(moved)


def _follow_list(versions: list[PriceVersion], from_ms: int) -> None:
    """From then on every discount is one off the list price of its time."""
    later = {v.effective_from_ms for v in versions if v.effective_from_ms > from_ms}
    keys = list(dict.fromkeys(_key(v) for v in versions if v.tenant))
    for at_ms in sorted({from_ms, *later}):
        for key in keys:
            sku, _, site, tier = key
            own = _latest(versions, key, at_ms)
            if own is None or not own.discount_ppm:
                continue
            listed = list_price(versions, Asked(sku, "", site, tier), at_ms)
            if listed is None:
                continue
            micro = discounted_micro(listed.micro, own.discount_ppm)
            if (own.micro, own.currency) != (micro, listed.currency):
                versions.append(
                    _replace(
                        own,
                        version=_next(versions),
                        effective_from_ms=at_ms,
                        micro=micro,
                        currency=listed.currency,
                    )
                )


def _key(version: PriceVersion) -> _PriceKey:
    return version.sku, version.tenant, version.site, version.tier


def _latest(versions: Sequence[PriceVersion], key: _PriceKey, at_ms: int) -> PriceVersion | None:
    """The version of exactly that price that holds then."""
    own = [v for v in versions if _key(v) == key and v.effective_from_ms <= at_ms]
    return max(own, key=lambda v: (v.effective_from_ms, v.version), default=None)


def _next(versions: Sequence[PriceVersion]) -> int:
    return versions[-1].version + 1
