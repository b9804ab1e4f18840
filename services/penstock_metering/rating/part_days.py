"""What was used within a part of a day?

Rows of `rated` are of whole days. Those that lie within the time count as they are; the leases of
those that reach over an end of it, which are no more than run at one instant, are rated once more
within that time only. It writes nothing, and does not know who asks.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import sqlalchemy as sa

from penstock_contracts.prices import unit_of
from penstock_metering.core.months import day_of
from penstock_metering.core.parts import Part
from penstock_metering.core.placing import merged
from penstock_metering.core.rating import rate_whole
from penstock_metering.core.rows import LeaseRow
from penstock_metering.rating.price_book import read_book
from penstock_metering.rating.rated_lines import Across, read_models
from penstock_metering.rating.rated_rows import read_part


def read_part_day(
    connection: sa.Connection, tenant: str, from_ms: int, to_ms: int
) -> Iterator[tuple[LeaseRow, Part, str]]:
    """Lease, part and unit of what was used within `[from_ms, to_ms)` of one day and does not stand
    in rows that lie in that time as a whole; where some of a part does, what is beyond it."""
    book = read_book(connection)
    across = Across(connection, tenant, day_of(from_ms), from_ms, to_ms)
    leases = across.leases()
    models = read_models(connection, leases)
    standing, lines = across.rated(), across.lines()
    for lease in leases:
        own = {device: models.get((lease.node, device), "") for device in lease.devices}
        cut = _cut(lease, from_ms, to_ms)
        parts = rate_whole(cut, own, book, lines.get(lease.key, ()))
        stands = [read_part(row) for row in standing[lease.key]]
        split = {part.key for part in stands if is_split(part, from_ms, to_ms)}
        for part in _complete(parts, list(merged(stands).values()), from_ms, to_ms):
            if part.key in split:
                yield lease, part, unit_of(part.sku)
        for part in stands:
            if part.key in split and is_within(part, from_ms, to_ms):
                yield lease, _negative(part), unit_of(part.sku)


def is_within(part: Part, from_ms: int, to_ms: int) -> bool:
    return from_ms <= part.t0_ms < to_ms and part.t1_ms <= to_ms


def is_split(part: Part, from_ms: int, to_ms: int) -> bool:
    return any(part.t0_ms < at_ms < part.t1_ms for at_ms in (from_ms, to_ms))


def _negative(part: Part) -> Part:
    return msgspec.structs.replace(
        part,
        quantity=-part.quantity,
        billed_quantity=-part.billed_quantity,
        runs=-part.runs,
    )


def _cut(lease: LeaseRow, from_ms: int, to_ms: int) -> LeaseRow:
    """As if it were held within that time only, and not over then."""
    return msgspec.structs.replace(
        lease,
        granted_ms=max(lease.granted_ms, from_ms),
        released_ms=to_ms if lease.released_ms is None else min(lease.released_ms, to_ms),
        released_seq=None,
        exited_ms=None if lease.released_ms is None else lease.exited_ms,
    )


def _complete(parts: list[Part], whole: list[Part], from_ms: int, to_ms: int) -> list[Part]:
    """With what belongs to an instant: fees, beginnings, and what is to be paid beyond what was
    used where a part really ends."""
    begins = {part.key for part in whole if part.runs and from_ms <= part.t0_ms < to_ms}
    found = {part.key: part for part in parts if part.t0_ms < part.t1_ms}
    for part in found.values():
        part.runs = int(part.key in begins)
    for part in whole:
        known = found.get(part.key)
        if part.t0_ms == part.t1_ms and from_ms <= part.t0_ms < to_ms:
            found[part.key] = part
        elif known is not None and from_ms < part.t1_ms <= to_ms and part.billed_quantity:
            known.billed_quantity += part.billed_quantity - part.quantity
    return [found[key] for key in sorted(found)]
