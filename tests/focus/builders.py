"""A month of charges, with everything that a bill may hold.

Spot and on demand, a tenant's discount, a free allowance, processors without devices, energy, use
that no price covers, corrections of a closed month, a credit note, rounding, and time that nobody
bought. Made by the code that makes real exports.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from penstock_contracts.exports import Charge, ExportPage
from penstock_contracts.prices import PriceVersion
from penstock_metering.core.charges import BilledLine, Dealer, UseOfDay, named_prices
from penstock_metering.core.lines import Line, Use, line_amounts
from penstock_metering.core.months import month_bounds_ms, month_days

MONTH, BEFORE = "2026-11", "2026-10"
GPU_HOUR = 3_600_000_000
PRICES = (
    PriceVersion(
        sku="gpu", version=1, effective_from_ms=0, unit="gpu_hour", micro=2_000_000,
        free_quantity=3 * GPU_HOUR,
    ),
    PriceVersion(sku="cpu", version=2, effective_from_ms=0, unit="cpu_hour", micro=40_000),
    PriceVersion(sku="gpu/H100", version=3, effective_from_ms=0, unit="gpu_hour", micro=3_333_333),
    PriceVersion(
        sku="gpu/H100", version=4, effective_from_ms=0, unit="gpu_hour", micro=2_666_667,
        tenant="acme",
    ),
    PriceVersion(
        sku="gpu/H100", version=5, effective_from_ms=0, unit="gpu_hour", micro=999_999, tier="spot"
    ),
    PriceVersion(sku="energy", version=6, effective_from_ms=0, unit="kwh", micro=310_000),
)  # fmt: skip
BY_VERSION = {price.version: price for price in PRICES}
_OFFERS = (
    ("gpu/L4", 1, "on_demand"),
    ("cpu", 2, "on_demand"),
    ("gpu/H100", 3, "on_demand"),
    ("gpu/H100", 4, "reserved"),
    ("gpu/H100", 5, "spot"),
    ("energy", 6, "spot"),
    ("gpu/A10", 0, "on_demand"),
)


def uses(seed: int = 1, count: int = 200) -> list[UseOfDay]:
    """In the order of days; some correct the month before."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        sku, version, tier = rng.choice(_OFFERS)
        consumed = rng.randrange(1, 24 * GPU_HOUR)
        month = BEFORE if rng.random() < 0.1 else MONTH
        found.append(
            UseOfDay(
                day=rng.choice(month_days(month)),
                tenant="acme" if version == 4 else rng.choice(("acme", "beta", "gamma")),
                project=rng.choice(("", "vision")),
                tier=tier,
                site=rng.choice(("", "berlin")),
                node=f"n{rng.randrange(3)}",
                device="" if sku == "cpu" else f"GPU-{rng.randrange(8)}",
                model=sku.partition("/")[2],
                sku=sku,
                price_version=version,
                corrects=BEFORE if month == BEFORE else "",
                consumed=consumed if month == MONTH else rng.choice((1, -1)) * consumed,
                billed=0,
            )
        )
    found = [use._replace(billed=-(-use.consumed // 1_000) * 1_000) for use in found]
    return sorted(found, key=lambda use: (use.corrects == "", use))


def lines(found: Sequence[UseOfDay], invoice: str = "INV-000007") -> list[BilledLine]:
    """As a closed month has them; `invoice` empty: as an open one has."""
    sums = [
        Use(
            tenant=use.tenant,
            sku=use.sku,
            price_version=use.price_version,
            corrects=use.corrects,
            quantity=use.consumed,
            billed_quantity=use.billed,
        )
        for use in found
    ]
    billed = [
        Line(
            tenant=use.tenant, sku=use.sku, price_version=use.price_version, corrects=BEFORE,
            currency="USD", quantity=100 * GPU_HOUR, billed_quantity=100 * GPU_HOUR,
            free_quantity=0, amount_micro=100 * BY_VERSION[use.price_version].micro,
        )
        for use in {(u.tenant, u.sku, u.price_version): u for u in found if u.corrects}.values()
        if use.price_version
    ]  # fmt: skip
    made = line_amounts(sums, BY_VERSION, billed)
    tenants = sorted({own.tenant for own in made})
    return [
        BilledLine(
            own,
            f"{invoice}-{tenants.index(own.tenant)}" if invoice else "",
            number if invoice else None,
        )
        for number, own in enumerate(made, 1)
    ]


def beside_use() -> list[Charge]:
    """What a bill holds that is no use, and what nobody bought."""
    return [
        Charge(kind="rounding", currency="USD", billed_micro=-3_321, tenant="acme",
               invoice="INV-000007-0", invoice_line=98),
        Charge(kind="credit", currency="USD", billed_micro=-5_000_000, tenant="acme",
               corrects=BEFORE, invoice="CRN-000001", invoice_line=1, text="Credit for an outage"),
        Charge(kind="idle", node="n1", device="GPU-7", model="H100", sku="gpu/H100",
               unit="gpu_hour", day=month_days(MONTH)[3], consumed=7 * GPU_HOUR,
               priced=0, currency="USD", costs={"energy": 10_000, "depreciation": 2_000_000},
               cost_currency="USD", idle="free_no_demand"),
        Charge(kind="usage", currency="USD", billed_micro=3_000_000, tenant="beta", node="n1",
               device="GPU-7", model="H100", sku="gpu/H100", unit="gpu_hour", price_version=3,
               list_version=3, day=month_days(MONTH)[3], consumed=17 * GPU_HOUR,
               priced=17 * GPU_HOUR, costs={"energy": 90_000, "depreciation": 4_857_143},
               cost_currency="USD"),
    ]  # fmt: skip


def a_page(seed: int = 1, *, closed: bool = True, provider: bool = False) -> ExportPage:
    found = uses(seed)
    charges = list(Dealer(lines(found, "INV-000007" if closed else ""), BY_VERSION).deal(found))
    if closed:
        charges += beside_use()[:2]
    if provider:
        charges += beside_use()[2:]
    start_ms, end_ms = month_bounds_ms(MONTH)
    return ExportPage(
        export="1",
        page=0,
        month=MONTH,
        start_ms=start_ms,
        end_ms=end_ms,
        closed=closed,
        issuer="Rhine GPU Cooperative",
        charges=tuple(charges),
        prices=named_prices(charges, BY_VERSION),
    )
