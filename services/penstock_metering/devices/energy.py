"""What did each device draw, day by day?

Adds slices up as they become known: sums need no order. It does not know what a device did with it.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import sqlalchemy as sa

from penstock_metering.core.months import MS_PER_DAY, day_of
from penstock_metering.devices import tables
from penstock_metering.ledger.prepared import Prepared

QUARTERS = 96
QUARTER_MS = MS_PER_DAY // QUARTERS

_slices, _energy = tables.device_slices, tables.device_energy
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[int | None]).decode
_balances = tables.node_balances
_SELECT_PLACE = Prepared(
    sa.select(_balances.c.slices_to).where(_balances.c.node == sa.bindparam("of"))
)
_SELECT = Prepared(
    sa.select(
        _slices.c.device,
        _slices.c.t0_ms,
        _slices.c.t1_ms,
        _slices.c.energy_mj,
        _slices.c.batch_number,
    ).where(_slices.c.node == sa.bindparam("of"), _slices.c.batch_number > sa.bindparam("after"))
)


class Drawn(msgspec.Struct):
    """One device on one day; a quarter of an hour is known once any of it is."""

    energy_mj: int = 0
    known_ms: int = 0
    quarters_mj: list[int | None] = msgspec.field(default_factory=lambda: [None] * QUARTERS)


def add_slices(connection: sa.Connection, node: str) -> int:
    """Add what came since the node's balance was made; returns the number of the last message."""
    found: dict[tuple[str, int], Drawn] = {}
    upto = _SELECT_PLACE.run(connection, of=node).scalar() or 0
    for row in _SELECT.run(connection, of=node, after=upto).all():
        upto = max(upto, row.batch_number)
        if row.energy_mj is None:
            continue
        for day, quarter, ms, energy_mj in _pieces(row.t0_ms, row.t1_ms, row.energy_mj):
            drawn = found.setdefault((row.device, day), Drawn())
            drawn.energy_mj += energy_mj
            drawn.known_ms += ms
            drawn.quarters_mj[quarter] = (drawn.quarters_mj[quarter] or 0) + energy_mj
    if found:
        _store(connection, node, found)
    return upto


def _pieces(t0_ms: int, t1_ms: int, energy_mj: int) -> Iterator[tuple[int, int, int, int]]:
    """(day, quarter of an hour, ms, mJ) of a slice, spread evenly: parts sum to the whole."""
    from_ms, whole_ms, given = t0_ms, t1_ms - t0_ms, 0
    while from_ms < t1_ms:
        to_ms = min(t1_ms, (from_ms // QUARTER_MS + 1) * QUARTER_MS)
        upto = energy_mj * (to_ms - t0_ms) // whole_ms
        day = day_of(from_ms)
        yield day, (from_ms - day * MS_PER_DAY) // QUARTER_MS, to_ms - from_ms, upto - given
        from_ms, given = to_ms, upto


def _store(connection: sa.Connection, node: str, found: dict[tuple[str, int], Drawn]) -> None:
    least = min(day for _, day in found)
    known = {
        (row.device, row.day): row
        for row in connection.execute(
            sa.select(_energy).where(_energy.c.node == node, _energy.c.day >= least)
        )
        if (row.device, row.day) in found
    }
    rows = []
    for (device, day), drawn in sorted(found.items()):
        before = known.get((device, day))
        if before is not None:
            drawn.energy_mj += before.energy_mj
            drawn.known_ms += before.known_ms
            drawn.quarters_mj = [
                b if a is None else a + (b or 0)
                for a, b in zip(_decode(before.quarters_mj), drawn.quarters_mj, strict=True)
            ]
        rows.append(
            {
                "node": node,
                "device": device,
                "day": day,
                "energy_mj": drawn.energy_mj,
                "known_ms": drawn.known_ms,
                "quarters_mj": _encode(drawn.quarters_mj).decode(),
            }
        )
    same = sa.and_(
        _energy.c.node == node,
        _energy.c.device == sa.bindparam("of"),
        _energy.c.day == sa.bindparam("on"),
    )
    if known:
        keys = [{"of": device, "on": day} for device, day in sorted(known)]
        connection.execute(sa.delete(_energy).where(same), keys)
    connection.execute(sa.insert(_energy), rows)
