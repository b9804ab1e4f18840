"""What does which use cost, from when on, and for whom?

Immutable price versions, which one is in force, and the most that a lease can cost. Money is
integer micro-currency. It does not know who used what.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock_contracts.bounds import Instant, Name, Number

GPU = "gpu"
GPU_PREFIX = "gpu/"
"""Before a device's model, in the SKU of that model. SKU `gpu` is every model's without its own."""
CPU = "cpu"
"""Cores of a rank without GPUs."""
CPU_BESIDE_GPU = "cpu/beside-gpu"
"""Cores of a rank with GPUs: free unless priced."""
MEMORY = "memory"
ENERGY = "energy"
"""What the devices drew while the work ran, as they measured it."""
JOB = "job"
"""Once for each attempt of a job that ran."""

Unit = Literal["gpu_hour", "cpu_hour", "gib_hour", "kwh", "job"]
Tier = Literal["", "on_demand", "spot", "reserved"]
State = Literal["preparing", "running", "settling"]

MS_PER_HOUR = 3_600_000
QUANTITY_PER_UNIT: dict[str, int] = {
    "gpu_hour": 1_000 * MS_PER_HOUR,
    "cpu_hour": 1_000 * MS_PER_HOUR,
    "gib_hour": 1_024 * MS_PER_HOUR,
    "kwh": 3_600_000_000,
    "job": 1,
}
"""Quantities are integers: milli-GPU·ms, milli-CPU·ms, MiB·ms, mJ, jobs. So many of them are one
of what a price is for."""
QUANTITY_NAMES: dict[str, str] = {
    "gpu_hour": "gpu_milli_ms",
    "cpu_hour": "cpu_milli_ms",
    "gib_hour": "memory_mib_ms",
    "kwh": "energy_mj",
    "job": "jobs",
}
PPM = 1_000_000
MICRO_MAX = 1 << 50
"""A thousand million of the currency for one unit."""
GRANULARITY_MS_MAX = 24 * MS_PER_HOUR
DEVICE_MW_MAX = 2_000_000
"""2 kW: no device draws more, so that what energy may cost is bounded before it is drawn."""


class PriceVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One price for ever: in force from `effective_from_ms` until the next version for the same
    SKU, tenant, site and tier. `version` counts over the whole book, so that it names a price.

    `micro` of `currency` per `unit`. `tenant`, `site` and `tier`: empty = all. `billable`: states
    of a lease that cost. A lease's billable time on a device is rounded up to `granularity_ms`
    once, to no less than `minimum_ms` when it ran at all. `free_quantity` of each tenant's
    quantity in a period is free. `discount_ppm`: not 0 where `micro` is the list price less this;
    then a new list price brings a new version of this one too.
    """

    sku: Name
    version: Number
    effective_from_ms: Instant
    unit: Unit
    micro: Annotated[int, Meta(ge=0, le=MICRO_MAX)]
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)")] = "USD"
    tenant: Name = ""
    site: Name = ""
    tier: Tier = ""
    granularity_ms: Annotated[int, Meta(ge=1, le=GRANULARITY_MS_MAX)] = 1_000
    minimum_ms: Annotated[int, Meta(ge=0, le=GRANULARITY_MS_MAX)] = 0
    billable: tuple[State, ...] = ("running",)
    free_quantity: Number = 0
    discount_ppm: Annotated[int, Meta(ge=0, le=PPM)] = 0


class Asked(msgspec.Struct, frozen=True):
    """For what a price is looked up. An empty `tier` is `on_demand`."""

    sku: str
    tenant: str = ""
    site: str = ""
    tier: str = ""


class RankShape(msgspec.Struct, frozen=True, kw_only=True):
    """What one rank of a lease holds; `models` has one entry for each device ("" = not known)."""

    models: tuple[str, ...] = ()
    gpu_milli: int = 1_000
    cpu_milli: int = 0
    memory_mib: int = 0
    site: str = ""


def gpu_sku(model: str) -> str:
    return GPU_PREFIX + model if model else GPU


def unit_of(sku: str) -> Unit:
    """Every SKU is counted in one unit."""
    if sku == GPU or sku.startswith(GPU_PREFIX):
        return "gpu_hour"
    return _UNITS[sku]


_UNITS: dict[str, Unit] = {
    CPU: "cpu_hour",
    CPU_BESIDE_GPU: "cpu_hour",
    MEMORY: "gib_hour",
    ENERGY: "kwh",
    JOB: "job",
}
SKUS = (GPU, *_UNITS)


def is_sku(sku: str) -> bool:
    return sku in SKUS or (sku.startswith(GPU_PREFIX) and len(sku) > len(GPU_PREFIX))


def resolve(versions: Iterable[PriceVersion], asked: Asked, at_ms: int) -> PriceVersion | None:
    """The price in force at that instant; None where there is none.

    Of those that apply the most specific counts: for the tenant before all, then for the tier, the
    site, the model; among equals the one that came into force last.
    """
    found: PriceVersion | None = None
    for version in versions:
        if version.effective_from_ms > at_ms or not _applies(version, asked):
            continue
        if found is None or _rank(version) > _rank(found):
            found = version
    return found


def list_price(versions: Iterable[PriceVersion], asked: Asked, at_ms: int) -> PriceVersion | None:
    """What others pay: without the tenant's own prices."""
    return resolve(versions, msgspec.structs.replace(asked, tenant=""), at_ms)


def _applies(version: PriceVersion, asked: Asked) -> bool:
    is_of_sku = version.sku == asked.sku or (
        version.sku == GPU and asked.sku.startswith(GPU_PREFIX)
    )
    return (
        is_of_sku
        and version.tenant in ("", asked.tenant)
        and version.site in ("", asked.site)
        and version.tier in ("", asked.tier or "on_demand")
    )


def _rank(version: PriceVersion) -> tuple[bool, bool, bool, bool, int, int]:
    return (
        bool(version.tenant),
        bool(version.tier),
        bool(version.site),
        version.sku != GPU,
        version.effective_from_ms,
        version.version,
    )


def money_micro(quantity: int, price: PriceVersion) -> int:
    """`quantity × price`, rounded once, half to even."""
    whole, rest = divmod(quantity * price.micro, QUANTITY_PER_UNIT[price.unit])
    twice = 2 * rest
    return whole + (
        twice > QUANTITY_PER_UNIT[price.unit]
        or (twice == QUANTITY_PER_UNIT[price.unit] and whole % 2 == 1)
    )


def billed_ms(used_ms: int, price: PriceVersion) -> int:
    """What a lease pays for `used_ms` of billable time on one device."""
    return max(price.minimum_ms, -(-used_ms // price.granularity_ms) * price.granularity_ms)


def bound_micro(
    versions: Sequence[PriceVersion],
    ranks: Iterable[RankShape],
    *,
    tenant: str,
    tier: str,
    paid_ms: int,
    from_ms: int,
    until_ms: int | None = None,
) -> int:
    """The most that a lease costs when none of its ranks runs longer than `paid_ms`, and all of it
    within `[from_ms, until_ms)` (None = whenever): rounded up for every device by itself, at the
    dearest of the prices that are or come into force. Preparing and settling, where they cost, are
    not bounded by running time and are not in it; nor are free allowances."""
    if paid_ms <= 0:
        return 0
    memo: dict[tuple[str, str], list[PriceVersion]] = {}
    total = 0
    for index, rank in enumerate(ranks):
        for sku, amount_per_ms in _burdens(rank, index == 0):
            key = (sku, rank.site)
            if key not in memo:
                asked = Asked(sku, tenant, rank.site, tier)
                memo[key] = _in_force(versions, asked, from_ms, until_ms)
            total += max((_most(p, amount_per_ms, paid_ms) for p in memo[key]), default=0)
    return total


def _burdens(rank: RankShape, is_first: bool) -> Iterable[tuple[str, int]]:
    """SKUs, and how much of each a rank uses in 1 ms (of energy in 1 s: mW are mJ/s)."""
    for model in rank.models:
        yield gpu_sku(model), rank.gpu_milli
        yield ENERGY, DEVICE_MW_MAX
    yield CPU_BESIDE_GPU if rank.models else CPU, rank.cpu_milli
    yield MEMORY, rank.memory_mib
    if is_first:
        yield JOB, 1


def _in_force(
    versions: Sequence[PriceVersion], asked: Asked, from_ms: int, until_ms: int | None
) -> list[PriceVersion]:
    """Every price that holds at some instant of that time."""
    changes = {v.effective_from_ms for v in versions if v.effective_from_ms > from_ms}
    if until_ms is not None:
        changes = {at_ms for at_ms in changes if at_ms < until_ms}
    found = (resolve(versions, asked, at_ms) for at_ms in sorted({from_ms, *changes}))
    return [price for price in found if price is not None]


def _most(price: PriceVersion, amount_per_ms: int, paid_ms: int) -> int:
    if price.unit == "job":
        return price.micro
    if price.unit == "kwh":
        quantity = -(-amount_per_ms * paid_ms // 1_000)
    else:
        quantity = amount_per_ms * billed_ms(paid_ms, price)
    return -(-quantity * price.micro // QUANTITY_PER_UNIT[price.unit])
