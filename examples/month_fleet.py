"""Which hosts does the demonstration month have, what do they cost and what is asked for them?

Two hundred GPUs of four models at two sites; two hosts are borrowed. It does not know who uses
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from penstock_contracts.costs import CostVersion, TariffBand
from penstock_contracts.price_book import SetPrice

USD = 1_000_000
CENT = 10_000
OSLO, AUSTIN = "oslo", "austin"
LENDER = "Cedar Labs"


class Kind(NamedTuple):
    """Hosts of one kind. Power of one device in watts, idle and at full use."""

    prefix: str
    model: str
    hosts: int
    gpus: int
    site: str
    idle_w: int
    busy_w: int
    memory_mib: int


KINDS = (
    Kind("ohm", "H100", 10, 8, OSLO, 70, 640, 81_559),
    Kind("volt", "A100", 5, 8, OSLO, 55, 380, 81_920),
    Kind("watt", "L40S", 10, 4, AUSTIN, 35, 310, 46_068),
    Kind("lux", "RTX-4090", 3, 8, AUSTIN, 22, 400, 24_564),
    Kind("guest", "RTX-4090", 2, 8, AUSTIN, 22, 400, 24_564),
)
PRICES = {"H100": 249, "A100": 119, "L40S": 84, "RTX-4090": 39}
"""List price of a GPU-hour in cents; work that may be interrupted pays half."""
DISCOUNTED_TENANT, DISCOUNT_PPM = "astro", 150_000


def hosts() -> Iterator[tuple[str, Kind]]:
    for kind in KINDS:
        for number in range(1, kind.hosts + 1):
            yield f"{kind.prefix}{number}", kind


def prices(start_ms: int, new_keys: Iterator[str]) -> Iterator[SetPrice]:
    """In force from the first instant of the month."""
    for model, cents in PRICES.items():
        for tier, micro in (("", cents * CENT), ("spot", cents * CENT // 2)):
            yield SetPrice(
                key=next(new_keys), sku=f"gpu/{model}", micro=micro, tier=tier,
                minimum_ms=60_000, effective_from_ms=start_ms,
            )  # fmt: skip
    yield SetPrice(
        key=next(new_keys), sku="gpu/H100", tenant=DISCOUNTED_TENANT, discount_ppm=DISCOUNT_PPM,
        effective_from_ms=start_ms,
    )  # fmt: skip


def costs(start_ms: int) -> Iterator[CostVersion]:
    """Bought over the years before, except for what is borrowed."""
    since = start_ms - 300 * 86_400_000
    for model, dollars, left, years in (
        ("H100", 27_500, 4_000, 4),
        ("A100", 12_500, 1_500, 4),
        ("L40S", 7_800, 1_000, 4),
        ("RTX-4090", 1_950, 300, 3),
    ):
        yield CostVersion(
            kind="purchase", effective_from_ms=since, model=model, micro=dollars * USD,
            residual_micro=left * USD, life_days=years * 365,
        )  # fmt: skip
    for name, kind in hosts():
        if kind.prefix == "guest":
            yield CostVersion(
                kind="payout", effective_from_ms=since, node=name, share_ppm=650_000, owner=LENDER
            )
            for number in range(kind.gpus):
                yield CostVersion(
                    kind="purchase", effective_from_ms=since, node=name, micro=0, life_days=1,
                    device=device_of(name, number),
                )  # fmt: skip
    yield CostVersion(
        kind="purchase", per="node", effective_from_ms=since, site=OSLO, micro=62_000 * USD,
        residual_micro=6_000 * USD, life_days=5 * 365,
    )  # fmt: skip
    yield CostVersion(
        kind="hosting", per="node", effective_from_ms=since, site=OSLO, micro=640 * USD
    )
    yield CostVersion(
        kind="rent", per="node", effective_from_ms=since, site=AUSTIN, micro=390 * USD
    )
    yield CostVersion(
        kind="energy", effective_from_ms=since, site=OSLO, overhead_milli=1_180,
        utc_offset_minutes=60,
        bands=(TariffBand(0, 48_000), TariffBand(360, 112_000), TariffBand(1_320, 48_000)),
    )  # fmt: skip
    yield CostVersion(
        kind="energy", effective_from_ms=since, site=AUSTIN, micro=91_000, overhead_milli=1_350
    )


def device_of(host: str, number: int) -> str:
    return f"GPU-{host}-{number}"
