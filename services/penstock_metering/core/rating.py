"""What does use cost?

Price versions are immutable; the one in force at the instant of use applies. Quantities are summed
first, as integers, then multiplied and rounded once, half to even. It does not know where
quantities come from.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock_contracts.jobs import GPU_MILLI_WHOLE

CURRENCY = "USD"
GPU_SKU = "gpu"
CPU_SKU = "cpu"
GPU_UNIT = "gpu_milli_ms"
CPU_UNIT = "cpu_milli_ms"

MS_PER_HOUR = 3_600_000
UNITS_PER_HOUR = GPU_MILLI_WHOLE * MS_PER_HOUR


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one SKU's price, in force from `effective_from_ms` until the SKU's next
    version. SKU `gpu` applies to every model without a price of its own (`gpu/<model>`)."""

    sku: str
    version: int
    effective_from_ms: int
    micro_per_hour: int
    currency: str = CURRENCY


DEFAULT_PRICES = (
    Price(sku=GPU_SKU, version=1, effective_from_ms=0, micro_per_hour=2_000_000),
    Price(sku=CPU_SKU, version=1, effective_from_ms=0, micro_per_hour=40_000),
)
"""A new mesh's prices: 2.00 per GPU-hour, 0.04 per core-hour (jobs without GPUs)."""


class PriceWindow(msgspec.Struct, frozen=True):
    """A price and the half-open time `[from_ms, to_ms)` it is in force (None = open end)."""

    price: Price
    from_ms: int
    to_ms: int | None


def windows(prices: Iterable[Price], sku: str) -> list[PriceWindow]:
    """When which version of the SKU applies, ascending; a later version ends the one before."""
    own = sorted(
        (price for price in prices if price.sku == sku),
        key=lambda price: (price.effective_from_ms, price.version),
    )
    found = []
    for index, price in enumerate(own):
        to_ms = own[index + 1].effective_from_ms if index + 1 < len(own) else None
        if to_ms is None or to_ms > price.effective_from_ms:
            found.append(PriceWindow(price, price.effective_from_ms, to_ms))
    return found


def cost_micro(quantity_milli_ms: int, micro_per_hour: int) -> int:
    """`quantity × price / hour` in micro-currency, rounded once, half to even."""
    whole, rest = divmod(quantity_milli_ms * micro_per_hour, UNITS_PER_HOUR)
    if 2 * rest > UNITS_PER_HOUR or (2 * rest == UNITS_PER_HOUR and whole % 2 == 1):
        return whole + 1
    return whole
