"""How much of a budget has an attempt used?

Exact sums of what was rated, and how they are cut where less was reserved. It does not know where
use is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import NamedTuple

from penstock_contracts.budgets import GPU_TIME
from penstock_contracts.prices import QUANTITY_PER_UNIT, PriceVersion

GPU_HOUR = "gpu_hour"
RUNNING = "running"


class Use(NamedTuple):
    """Rated use: of one price, in one state."""

    price_version: int
    unit: str
    state: str
    quantity: int
    billed_quantity: int


class Settled(NamedTuple):
    """`charged`: what it costs, rounded up, at most what was reserved; `excess`: the rest."""

    charged: int
    excess: int


def used(
    uses: Iterable[Use], unit: str, currency: str, prices: Mapping[int, PriceVersion]
) -> Fraction:
    """In a budget's unit: GPU time as it ran, or money at the prices of its time; what is priced in
    another currency does not count."""
    if unit == GPU_TIME:
        return Fraction(
            sum(use.quantity for use in uses if use.unit == GPU_HOUR and use.state == RUNNING)
        )
    total = Fraction(0)
    for use in uses:
        price = prices.get(use.price_version)
        if price is not None and price.currency == currency:
            per = QUANTITY_PER_UNIT[price.unit]
            total += Fraction(use.billed_quantity * price.micro, per)
    return total


def rounded_up(amount: Fraction) -> int:
    return -(-amount.numerator // amount.denominator)


def settle(amount: Fraction, reserved: int) -> Settled:
    """What of an attempt's use stands against what was reserved for it."""
    amount = max(Fraction(0), amount)
    whole = rounded_up(amount)
    return Settled(min(whole, reserved), max(0, whole - reserved))


def warned(spent: int, limit: int, thresholds: Iterable[int]) -> int:
    """The highest of the thresholds, in percent, that is reached; 0 = none."""
    return max((percent for percent in thresholds if spent * 100 >= percent * limit), default=0)
