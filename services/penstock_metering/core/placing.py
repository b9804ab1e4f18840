"""In which month is each part of a lease billed?

In the month it was used in; where that is closed, only the difference to what was billed for it, in
the first month that is open. It does not know how parts come about.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock_metering.core.months import month_of_day, posting_month
from penstock_metering.core.parts import Part, PartKey


class Placed(msgspec.Struct, frozen=True):
    """A part, or what is added to one (perhaps less than zero). `corrects`: the closed month it was
    used in, else empty."""

    part: Part
    period: str
    corrects: str


def place(parts: Iterable[Part], closed: Iterable[Part], closed_until: str) -> list[Placed]:
    """`closed`: what stands in closed months already. In the order of the parts' keys."""
    now = {part.key: part for part in parts}
    before = merged(closed)
    placed = []
    months: dict[int, str] = {}
    for key in sorted({**now, **before}) if before else now:
        month = months.get(key[0]) or months.setdefault(key[0], month_of_day(key[0]))
        if month > closed_until:
            placed.append(Placed(now[key], month, ""))
            continue
        change = _change(now.get(key), before.get(key))
        if change is not None:
            placed.append(Placed(change, posting_month(month, closed_until), month))
    return placed


def merged(parts: Iterable[Part]) -> dict[PartKey, Part]:
    """Parts of one key, and what was added to them later, as one."""
    found: dict[PartKey, Part] = {}
    for part in parts:
        found[part.key] = _sum(found.get(part.key), part)
    return found


def _sum(known: Part | None, part: Part) -> Part:
    if known is None:
        return part
    return msgspec.structs.replace(
        known,
        t0_ms=min(known.t0_ms, part.t0_ms),
        t1_ms=max(known.t1_ms, part.t1_ms),
        quantity=known.quantity + part.quantity,
        billed_quantity=known.billed_quantity + part.billed_quantity,
        runs=known.runs + part.runs,
    )


def _change(now: Part | None, before: Part | None) -> Part | None:
    """What is missing in `before`; None = nothing."""
    part = now if now is not None else before
    if part is None or before is None:
        return part
    change = msgspec.structs.replace(
        part,
        quantity=(now.quantity if now else 0) - before.quantity,
        billed_quantity=(now.billed_quantity if now else 0) - before.billed_quantity,
        runs=(now.runs if now else 0) - before.runs,
    )
    return change if change.quantity or change.billed_quantity or change.runs else None
