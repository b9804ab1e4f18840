"""What is free on which node, as arrays?

Nodes come, go and change their hardware; ranks take and give back. A node keeps its column while it
is there. It does not know scores, and of a shape only what it takes.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from penstock_scheduler.core.packing.layout import (
    CHANGED,
    CPU,
    FREE,
    KIND,
    MEMORY,
    MILLI,
    NO_DEVICE,
    NODE_ROWS,
    OPEN,
    ORDER,
    SLOTS,
    UNITS,
    Array,
)
from penstock_scheduler.core.packing.workload import DeviceKind

UNITS_PLENTY = 1 << 40
"""Of units, where nobody counts them."""
COLUMNS_FIRST = 64
DEVICES_FIRST = 8
ORDER_MAX = 1 << 62
"""Places in the order of names lie between 0 and this."""
ORDER_STEP = 1 << 46
"""Left between a name that comes last and the one before it."""


class NodeRoom(NamedTuple):
    """A node as it is now. `devices`: kind per device, None = not usable; `free_milli`: per
    device."""

    cpu_milli: int
    memory_mib: int
    devices: tuple[DeviceKind | None, ...]
    free_milli: tuple[int, ...]
    open: bool = True
    units: int = UNITS_PLENTY


def empty_node(cpu_milli: int, memory_mib: int, devices: Sequence[DeviceKind | None]) -> NodeRoom:
    """A node with nothing on it."""
    return NodeRoom(cpu_milli, memory_mib, tuple(devices), (MILLI,) * len(devices))


class Fleet:
    """Arrays as `layout` names them. `version` counts changes; `kinds` lists device kinds."""

    def __init__(self) -> None:
        self.nodes = np.zeros((NODE_ROWS, COLUMNS_FIRST), np.int64)
        self.devices = np.zeros((2, COLUMNS_FIRST, DEVICES_FIRST), np.int32)
        self.devices[KIND] = NO_DEVICE
        self.columns: dict[str, int] = {}
        self.names: list[str] = []
        self.kinds: list[DeviceKind] = []
        self._kind_index: dict[DeviceKind, int] = {}
        self._gaps: list[int] = []
        self._sorted: list[str] = []

    @property
    def count(self) -> int:
        """Columns in use, those of removed nodes included."""
        return len(self.names)

    def put(self, name: str, room: NodeRoom) -> int:
        """Adds a node or replaces all that is known of it; its column."""
        column = self.columns.get(name)
        if column is None:
            column = self._new_column(name)
        if len(room.devices) > self.devices.shape[2]:
            self._widen(len(room.devices))
        self.nodes[CPU, column] = room.cpu_milli
        self.nodes[MEMORY, column] = room.memory_mib
        self.nodes[UNITS, column] = room.units
        self.nodes[OPEN, column] = room.open
        self.nodes[SLOTS, column] = len(room.devices)
        self.devices[FREE, column] = 0
        self.devices[KIND, column] = NO_DEVICE
        for index, (kind, free) in enumerate(zip(room.devices, room.free_milli, strict=True)):
            self.devices[FREE, column, index] = free
            if kind is not None:
                self.devices[KIND, column, index] = self._kind(kind)
        return column

    def remove(self, name: str) -> int:
        """Forgets a node; its column, which is closed from now on."""
        column = self.columns.pop(name)
        self.names[column] = ""
        self._sorted.pop(bisect_left(self._sorted, name))
        self._gaps.append(column)
        changed = self.nodes[CHANGED, column]
        self.nodes[:, column] = 0
        self.nodes[CHANGED, column] = changed
        self.devices[FREE, column] = 0
        self.devices[KIND, column] = NO_DEVICE
        return column

    def room(self, name: str) -> NodeRoom:
        """A node as it is now."""
        return room_in(self.columns[name], self.nodes, self.devices, self.kinds)

    def copy(self) -> Fleet:
        """Other arrays with the same in them; nodes neither come nor go there."""
        other = Fleet.__new__(Fleet)
        other.__dict__.update(self.__dict__)
        other.nodes, other.devices = self.nodes.copy(), self.devices.copy()
        return other

    def models(self) -> dict[str, int]:
        """Usable devices by model, whatever is on them."""
        kinds, numbers = np.unique(self.devices[KIND], return_counts=True)
        found: dict[str, int] = {}
        for kind, number in zip(kinds.tolist(), numbers.tolist(), strict=True):
            if kind != NO_DEVICE:
                model = self.kinds[kind][0]
                found[model] = found.get(model, 0) + number
        return found

    def _kind(self, kind: DeviceKind) -> int:
        index = self._kind_index.get(kind)
        if index is None:
            index = self._kind_index[kind] = len(self.kinds)
            self.kinds.append(kind)
        return index

    def _new_column(self, name: str) -> int:
        if self._gaps:
            column = self._gaps.pop()
            self.names[column] = name
        else:
            column = len(self.names)
            self.names.append(name)
            if column >= self.nodes.shape[1]:
                self._lengthen()
        self.columns[name] = column
        self._take_order(name, column)
        return column

    def _take_order(self, name: str, column: int) -> None:
        """A place between those of its neighbours by name; all anew when there is none left."""
        at = bisect_left(self._sorted, name)
        insort(self._sorted, name)
        below = self._order(at - 1) if at else 0
        above = self._order(at + 1) if at + 1 < len(self._sorted) else ORDER_MAX
        if above - below < 2:
            step = ORDER_MAX // (len(self._sorted) + 1)
            for place, one in enumerate(self._sorted, 1):
                self.nodes[ORDER, self.columns[one]] = place * step
        else:
            self.nodes[ORDER, column] = below + min(ORDER_STEP, (above - below) // 2)

    def _order(self, place: int) -> int:
        return int(self.nodes[ORDER, self.columns[self._sorted[place]]])

    def _lengthen(self) -> None:
        self.nodes = np.concatenate([self.nodes, np.zeros_like(self.nodes)], axis=1)
        more = np.zeros_like(self.devices)
        more[KIND] = NO_DEVICE
        self.devices = np.concatenate([self.devices, more], axis=1)

    def _widen(self, devices: int) -> None:
        shape = (2, self.devices.shape[1], devices - self.devices.shape[2])
        more = np.zeros(shape, np.int32)
        more[KIND] = NO_DEVICE
        self.devices = np.concatenate([self.devices, more], axis=2)


def room_in(column: int, nodes: Array, devices: Array, kinds: Sequence[DeviceKind]) -> NodeRoom:
    """A node by its column in a fleet's arrays, or in copies of some columns of them."""
    slots = int(nodes[SLOTS, column])
    numbers = devices[KIND, column, :slots].tolist()
    return NodeRoom(
        int(nodes[CPU, column]),
        int(nodes[MEMORY, column]),
        tuple(None if number == NO_DEVICE else kinds[number] for number in numbers),
        tuple(devices[FREE, column, :slots].tolist()),
        bool(nodes[OPEN, column]),
        int(nodes[UNITS, column]),
    )
