"""Which price holds when?

A price book answers for a SKU, tenant, site and tier what holds over time, each question worked out
once. It does not know who used anything.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from penstock_contracts.prices import Asked, PriceVersion, resolve

CURRENCY = "USD"
DEFAULT_PRICES = (
    PriceVersion(
        sku="gpu", version=1, effective_from_ms=0, unit="gpu_hour", micro=2_000_000,
        currency=CURRENCY,
    ),
    PriceVersion(
        sku="cpu", version=2, effective_from_ms=0, unit="cpu_hour", micro=40_000, currency=CURRENCY
    ),
)  # fmt: skip
"""A new mesh's prices: 2.00 per GPU-hour, 0.04 per core-hour of jobs without GPUs."""

Span = tuple[int, int, PriceVersion | None]
"""`[from_ms, to_ms)` and the price in force."""


class PriceBook:
    """Made anew when a version is added."""

    def __init__(self, versions: Iterable[PriceVersion]) -> None:
        self.versions = tuple(sorted(versions, key=lambda version: version.version))
        self.by_number = {version.version: version for version in self.versions}
        self.skus = frozenset(version.sku for version in self.versions)
        self._changes: dict[Asked, tuple[list[int], list[PriceVersion | None]]] = {}

    @property
    def newest(self) -> int:
        """The highest number; 0 = the book is empty."""
        return self.versions[-1].version if self.versions else 0

    def price_at(self, asked: Asked, at_ms: int) -> PriceVersion | None:
        instants, prices = self._timeline(asked)
        at = bisect_right(instants, at_ms)
        return prices[at - 1] if at else None

    def spans(self, asked: Asked, from_ms: int, to_ms: int) -> Iterator[Span]:
        """The time cut where the price changes."""
        instants, prices = self._timeline(asked)
        at = bisect_right(instants, from_ms)
        while from_ms < to_ms:
            end_ms = min(to_ms, instants[at]) if at < len(instants) else to_ms
            yield from_ms, end_ms, prices[at - 1] if at else None
            from_ms = end_ms
            at += 1

    def _timeline(self, asked: Asked) -> tuple[list[int], list[PriceVersion | None]]:
        """Instants at which the price becomes another one, and which."""
        known = self._changes.get(asked)
        if known is None:
            known = self._changes[asked] = ([], [])
            before: PriceVersion | None = None
            for at_ms in sorted({version.effective_from_ms for version in self.versions}):
                price = resolve(self.versions, asked, at_ms)
                if price is not before:
                    known[0].append(at_ms)
                    known[1].append(price)
                    before = price
        return known
