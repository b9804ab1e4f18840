"""What does the provider pay for nodes and devices, from when on?

Immutable cost versions and which one is in force on a day. Money is integer micro-currency. It does
not know who used what, nor what came of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock_contracts.bounds import DEVICE_LETTERS_MAX, Instant, Label, Name, Number

Kind = Literal["purchase", "rent", "hosting", "energy", "payout"]
KINDS: tuple[Kind, ...] = ("purchase", "rent", "hosting", "energy", "payout")

MICRO_MAX = 1 << 50
LIFE_DAYS_MAX = 36_525
OVERHEAD_MILLI_MAX = 10_000
BANDS_MAX = 24
MINUTES_PER_DAY = 1_440
QUARTER_MINUTES = 15
"""Energy is known by quarters of an hour, so a tariff changes only between two of them."""
OFFSET_MINUTES_MAX = 14 * 60
PPM = 1_000_000
COSTS_MAX = 10_000
"""Versions that a ledger keeps."""

Device = Annotated[
    str,
    Meta(max_length=DEVICE_LETTERS_MAX, pattern=r"^([A-Za-z0-9][A-Za-z0-9_.:/-]*)?$(?!\n)"),
]
"""A UUID, or empty."""
Micro = Annotated[int, Meta(ge=0, le=MICRO_MAX)]


class TariffBand(msgspec.Struct, frozen=True):
    """From `from_minute` of the day, until the next band, a kWh costs `micro`."""

    from_minute: Annotated[int, Meta(ge=0, le=MINUTES_PER_DAY - 1)]
    micro: Micro


class CostVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One cost for ever: in force from the UTC day that begins at `effective_from_ms`, until
    another version of the same kind, `per` and place. `number` counts over all of them.

    Where: `device`, else `node`, else `model`, else `site`, else everywhere; the most specific
    counts. `per` `node`: once for the node, divided among its devices by their time.

    - `purchase`: `micro` less `residual_micro` is written off evenly over `life_days` from then on.
    - `rent`, `hosting`: `micro` for every hour or calendar month (`every`).
    - `energy`: `micro` per kWh, or by `bands` of the day in local time, `utc_offset_minutes` ahead
      of UTC; `overhead_milli` of what devices draw is paid (1,300 = a third more for the building).
    - `payout`: to `owner`, `share_ppm` of what the device earned and `micro` per GPU-hour sold.
    """

    number: Number = 0
    kind: Kind
    effective_from_ms: Instant
    micro: Micro = 0
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)")] = "USD"
    site: Label = ""
    model: Label = ""
    node: Label = ""
    device: Device = ""
    per: Literal["device", "node"] = "device"
    every: Literal["hour", "month"] = "month"
    life_days: Annotated[int, Meta(ge=0, le=LIFE_DAYS_MAX)] = 0
    residual_micro: Micro = 0
    bands: Annotated[tuple[TariffBand, ...], Meta(max_length=BANDS_MAX)] = ()
    utc_offset_minutes: Annotated[int, Meta(ge=-OFFSET_MINUTES_MAX, le=OFFSET_MINUTES_MAX)] = 0
    overhead_milli: Annotated[int, Meta(ge=1_000, le=OVERHEAD_MILLI_MAX)] = 1_000
    share_ppm: Annotated[int, Meta(ge=0, le=PPM)] = 0
    owner: Label = ""


class SetCost(msgspec.Struct, frozen=True):
    """`command.metering.cost`. `key` is drawn by who asks: repeating changes nothing."""

    key: Name
    cost: CostVersion


class CostsQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """`query.metering.costs`: those numbered behind `after`."""

    kind: Kind | Literal[""] = ""
    after: Number = 0


class CostsView(msgspec.Struct, frozen=True, omit_defaults=True):
    """By number. With `more`, ask again after the last one."""

    costs: tuple[CostVersion, ...]
    more: bool = False


class Place(msgspec.Struct, frozen=True):
    """A device, for which a cost is looked up."""

    node: str
    device: str
    model: str = ""
    site: str = ""


def fault_of(cost: CostVersion) -> str:
    """What is wrong with a new version, as a sentence; empty = nothing."""
    minutes = [band.from_minute for band in cost.bands]
    if cost.effective_from_ms % (MINUTES_PER_DAY * 60_000):
        return "a cost begins with a day in UTC"
    if cost.per == "node" and (cost.model or cost.device or cost.kind in ("energy", "payout")):
        return "a cost per node is a purchase, rent or hosting, of a node, a site or everywhere"
    if cost.kind == "purchase" and not cost.life_days:
        return "a purchase is written off over `life_days`"
    if cost.residual_micro > cost.micro:
        return "a device is not worth more at its end than at its beginning"
    if minutes and (minutes[0] != 0 or minutes != sorted(set(minutes))):
        return "bands begin at minute 0 and follow each other"
    if any(minute % QUARTER_MINUTES for minute in (*minutes, cost.utc_offset_minutes)):
        return "bands and the offset from UTC fall on quarters of an hour"
    return _stray(cost)


def _stray(cost: CostVersion) -> str:
    """Fields of another kind would silently mean nothing."""
    given = {
        name
        for name, default in _OWN_FIELDS.items()
        if getattr(cost, name) != default and cost.kind not in _KINDS_WITH[name]
    }
    return f"{min(given)} does not belong to {cost.kind}" if given else ""


_OWN_FIELDS: dict[str, object] = {
    "every": "month",
    "life_days": 0,
    "residual_micro": 0,
    "bands": (),
    "utc_offset_minutes": 0,
    "overhead_milli": 1_000,
    "share_ppm": 0,
    "owner": "",
}
_KINDS_WITH: dict[str, tuple[str, ...]] = {
    "every": ("rent", "hosting"),
    "life_days": ("purchase",),
    "residual_micro": ("purchase",),
    "bands": ("energy",),
    "utc_offset_minutes": ("energy",),
    "overhead_milli": ("energy",),
    "share_ppm": ("payout",),
    "owner": ("payout",),
}


def in_force(
    costs: Iterable[CostVersion], kind: str, per: str, place: Place, day_begins_ms: int
) -> CostVersion | None:
    """The cost of that kind for a device on a day; None where none is set."""
    found: CostVersion | None = None
    for cost in costs:
        if (cost.kind, cost.per) != (kind, per) or cost.effective_from_ms > day_begins_ms:
            continue
        if _applies(cost, place) and (found is None or _rank(cost) > _rank(found)):
            found = cost
    return found


def _applies(cost: CostVersion, place: Place) -> bool:
    return (
        cost.site in ("", place.site)
        and cost.model in ("", place.model)
        and cost.node in ("", place.node)
        and cost.device in ("", place.device)
    )


def _rank(cost: CostVersion) -> tuple[bool, bool, bool, bool, int, int]:
    return (
        bool(cost.device),
        bool(cost.node),
        bool(cost.model),
        bool(cost.site),
        cost.effective_from_ms,
        cost.number,
    )
