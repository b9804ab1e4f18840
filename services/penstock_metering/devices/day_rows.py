"""What did each device do on each day?

Reads what `device_time` has derived. A node that is lost says no more, so the days since it last
did are added as time of which nothing is known, up to the moment of the question. It does not
know what anything cost.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import sqlalchemy as sa

from penstock_metering.core.balances import NodeBalance
from penstock_metering.core.device_days import STATES, DeviceDay
from penstock_metering.core.sweeping import UNKNOWN, by_day
from penstock_metering.devices import tables
from penstock_metering.ledger import schema

_days, _energy, _models = tables.device_days, tables.device_energy, schema.device_models
_decode_balance = msgspec.json.Decoder(NodeBalance).decode
_decode_quarters = msgspec.json.Decoder(tuple[int | None, ...]).decode

_Key = tuple[str, str, int]


def read_days(
    connection: sa.Connection, from_day: int, to_day: int, now_ms: int
) -> list[DeviceDay]:
    """Every device that was there, days `[from_day, to_day)`, in the order of (node, device, day).
    Of time after a living node's newest counters nothing is said yet."""
    found: dict[_Key, DeviceDay] = {}
    columns = [_days.c[name] for name in ("node", "device", "day", "site", *STATES)]
    states = len(STATES)
    energy = {
        (row.node, row.device, row.day): row
        for row in connection.execute(
            sa.select(_energy).where(_energy.c.day >= from_day, _energy.c.day < to_day)
        )
    }
    models = {(row.node, row.uuid): row.model for row in connection.execute(sa.select(_models))}
    statement = sa.select(*columns, _days.c.energy_sold_mj).where(
        _days.c.day >= from_day, _days.c.day < to_day
    )
    for row in connection.execute(statement):
        key: _Key = (row[0], row[1], row[2])
        drawn = energy.get(key)
        found[key] = DeviceDay(
            *key,
            model=models.get(key[:2], ""),
            site=row[3],
            milli_ms=tuple(row[4 : 4 + states]),
            energy_mj=None if drawn is None or not drawn.known_ms else drawn.energy_mj,
            energy_sold_mj=row[4 + states],
            energy_known_ms=0 if drawn is None else drawn.known_ms,
            quarters_mj=() if drawn is None else _decode_quarters(drawn.quarters_mj),
        )
    for key, site, silent in _silence(connection, from_day, to_day, now_ms):
        known = found.get(key)
        if known is None:
            spent = [0] * states
            spent[UNKNOWN] = silent
            found[key] = DeviceDay(*key, models.get(key[:2], ""), site, tuple(spent))
        else:
            spent = list(known.milli_ms)
            spent[UNKNOWN] += silent
            found[key] = known._replace(milli_ms=tuple(spent))
    return [found[key] for key in sorted(found)]


def _silence(
    connection: sa.Connection, from_day: int, to_day: int, now_ms: int
) -> Iterator[tuple[_Key, str, int]]:
    for row in connection.execute(sa.select(tables.node_balances)):
        balance = _decode_balance(row.balance)
        if balance.is_lost:
            for uuid, end_ms in balance.ends_ms.items():
                for day, spent in by_day(end_ms, max(end_ms, now_ms)):
                    if from_day <= day < to_day:
                        yield (row.node, uuid, day), balance.site, spent
