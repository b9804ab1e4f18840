"""What was the time of each device on each day, as arrays?

Rows of (node, device, day) with milli-GPU·ms per state and measured energy, in the order of their
key. A cell is one state of one row; whoever divides an amount over time divides it over cells. It
does not know money.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from penstock_contracts.costs import Place
from penstock_metering.core.spread import Integers

SOLD_STATES = ("sold_used", "sold_idle", "sold")
UNSOLD_STATES = (
    "held",
    "free_no_demand",
    "free_fragmented",
    "free_quota",
    "draining",
    "broken",
    "unknown",
)
STATES = (*SOLD_STATES, *UNSOLD_STATES)
SOLD_COUNT = len(SOLD_STATES)
QUARTERS_PER_DAY = 96


class DeviceDay(NamedTuple):
    """One device on one day (days since 1970, UTC). `milli_ms` in the order of `STATES`; energy in
    mJ, None = unknown: in all, while it was sold, and per quarter of an hour of the day."""

    node: str
    device: str
    day: int
    model: str
    site: str
    milli_ms: tuple[int, ...]
    energy_mj: int | None = None
    energy_sold_mj: int | None = None
    energy_known_ms: int = 0
    quarters_mj: tuple[int | None, ...] = ()


class DeviceDays:
    """`place`, `device` and `node` are each row's indexes into `places`, `devices` (as node and
    UUID) and `nodes`. A device that moves or changes is one device in several places."""

    def __init__(self, rows: Sequence[DeviceDay]) -> None:
        self.rows = rows = sorted(rows)
        indexes: dict[Place, int] = {}
        for row in rows:
            indexes.setdefault(Place(row.node, row.device, row.model, row.site), len(indexes))
        self.places = list(indexes)
        self.place = as_integers(
            [indexes[Place(row.node, row.device, row.model, row.site)] for row in rows]
        )
        nodes: dict[str, int] = {}
        devices: dict[tuple[str, str], int] = {}
        for place in self.places:
            nodes.setdefault(place.node, len(nodes))
            devices.setdefault((place.node, place.device), len(devices))
        self.devices = list(devices)
        self.device = as_integers([devices[row.node, row.device] for row in rows])
        self.nodes = list(nodes)
        self.node = as_integers([nodes[row.node] for row in rows])
        self.day = as_integers([row.day for row in rows])
        self.milli_ms = as_integers([row.milli_ms for row in rows]).reshape(-1, len(STATES))
        self.capacity = self.milli_ms.sum(axis=1)
        self.sold = self.milli_ms[:, :SOLD_COUNT].sum(axis=1)
        self.energy_mj = as_integers([row.energy_mj or 0 for row in rows])
        self.energy_sold_mj = as_integers(
            [-1 if row.energy_sold_mj is None else row.energy_sold_mj for row in rows]
        )
        self.energy_known_ms = as_integers([row.energy_known_ms for row in rows])

    def __len__(self) -> int:
        return len(self.rows)


def as_integers(values: object) -> Integers:
    return np.array(values, dtype=np.int64)
