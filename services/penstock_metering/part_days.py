"""What was used within a part of a day?

Sums are kept by whole days, so the leases that were there are rated once more, within that time
only. It writes nothing, and does not know who asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import sqlalchemy as sa

from penstock_contracts.prices import unit_of
from penstock_metering import schema
from penstock_metering.core.book import PriceBook
from penstock_metering.core.parts import Part
from penstock_metering.core.rating import UsageLine, rate_whole
from penstock_metering.core.rows import LeaseRow
from penstock_metering.price_book import read_book
from penstock_metering.rated_lines import read_lines_within, read_models
from penstock_metering.records import read_lease

_leases = schema.leases


def read_part_day(
    connection: sa.Connection, tenant: str, from_ms: int, to_ms: int
) -> Iterator[tuple[LeaseRow, Part, str]]:
    """Lease, part and unit of all use within `[from_ms, to_ms)`."""
    book = read_book(connection)
    there = [
        _leases.c.granted_ms < to_ms,
        sa.or_(_leases.c.released_ms.is_(None), _leases.c.released_ms > from_ms),
    ]
    if tenant:
        there.append(_leases.c.tenant == tenant)
    ordered = sa.select(_leases).where(*there).order_by(*_leases.primary_key.columns)
    leases = [read_lease(row) for row in connection.execute(ordered)]
    models = read_models(connection, leases)
    lines = read_lines_within(connection, tenant, from_ms, to_ms)
    for lease in leases:
        own = {device: models.get((lease.node, device), "") for device in lease.devices}
        within = _Window(lease, own, book, lines.get(lease.key, []))
        for part in within.parts(from_ms, to_ms):
            yield lease, part, unit_of(part.sku)


class _Window:
    def __init__(
        self,
        lease: LeaseRow,
        models: dict[str, str],
        book: PriceBook,
        lines: Sequence[UsageLine],
    ) -> None:
        self._lease, self._models, self._book, self._lines = lease, models, book, lines

    def parts(self, from_ms: int, to_ms: int) -> list[Part]:
        """As of a lease that is held within that time only. Where it really ends there, also what
        is to be paid beyond what was used."""
        lease = self._lease
        ends_ms = to_ms if lease.released_ms is None else min(lease.released_ms, to_ms)
        cut = msgspec.structs.replace(
            lease,
            granted_ms=max(lease.granted_ms, from_ms),
            released_ms=ends_ms,
            released_seq=None,
            exited_ms=None if lease.released_ms is None else lease.exited_ms,
        )
        parts = rate_whole(cut, self._models, self._book, self._lines)
        whole = rate_whole(lease, self._models, self._book, self._lines)
        begins = {part.key for part in whole if part.runs and from_ms <= part.t0_ms < to_ms}
        by_key = {part.key: part for part in parts if part.t0_ms < part.t1_ms}
        for part in by_key.values():
            part.runs = int(part.key in begins)
        for part in whole:
            known = by_key.get(part.key)
            if part.t0_ms == part.t1_ms and from_ms <= part.t0_ms < to_ms:
                by_key[part.key] = part  # a fee
            elif known is not None and from_ms < part.t1_ms <= to_ms and part.billed_quantity:
                known.billed_quantity += part.billed_quantity - part.quantity
        return [by_key[key] for key in sorted(by_key)]
