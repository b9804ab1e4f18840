"""On which node, and which devices, does a rank of this shape go?

Keeps the score of every node for every shape asked for lately, and computes anew only what changed
since that shape was asked for last. The same input gives the same choice, with numba or without. It
does not know who asks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock_scheduler.core.packing import loops
from penstock_scheduler.core.packing.fleet import Fleet, NodeRoom
from penstock_scheduler.core.packing.layout import (
    CHANGED,
    DEVICE,
    FILL,
    NO_DEVICE,
    OPEN,
    RANDOM,
    TOTAL,
    USABLE,
    WEIGHT_SUM_BITS,
    WHOLE,
    Array,
)
from penstock_scheduler.core.packing.policies import DEFAULT, Policy
from penstock_scheduler.core.packing.rows import Rows
from penstock_scheduler.core.packing.scoring import whole_devices
from penstock_scheduler.core.packing.shapes import PackShape, row_key
from penstock_scheduler.core.packing.tombola import Tombola
from penstock_scheduler.core.packing.workload import EMPTY, Workload, profile_of

HISTORY_MAX = 4096
"""Changes remembered: a row that missed more is computed whole."""
NOBODY = np.zeros(0, np.bool_)


class Choice(NamedTuple):
    """A node and the indices of its devices."""

    node: str
    devices: tuple[int, ...]


class Packer:
    """`take` after every choice that is kept, and `give` when it ends, keep it true."""

    def __init__(
        self, policy: Policy = DEFAULT, workload: Workload = EMPTY, *, seed: int = 0
    ) -> None:
        self.fleet = Fleet()
        self.policy = policy
        self.workload = workload
        self.usable = self.whole = 0
        self._version = 0
        self._history = np.zeros(HISTORY_MAX, np.int64)
        self._rows = Rows(policy)
        self._tombola = Tombola(seed) if policy.number == RANDOM else None
        self._use_profile()

    def expect(self, workload: Workload) -> None:
        """Takes the workload as what will come; all scores are computed anew when asked for."""
        self.workload = workload
        self._use_profile()

    def put(self, name: str, room: NodeRoom) -> None:
        """A node as it is now: new, or changed in whatever way."""
        known = self.fleet.columns.get(name)
        if known is not None:
            self._count(known, -1)
        columns, devices = self.fleet.devices.shape[1:]
        column = self.fleet.put(name, room)
        if len(self.fleet.kinds) != self._kinds:
            self._use_profile()
        elif self.fleet.devices.shape[1:] != (columns, devices):
            self._use_arrays()
        self._touch(column)

    def remove(self, name: str) -> None:
        """The node is no more."""
        self._count(self.fleet.columns[name], -1)
        self._touch(self.fleet.remove(name))

    def choose(self, shape: PackShape, closed: Array = NOBODY) -> Choice | None:
        """The best place for one rank now, or None. `closed`: nodes it must not use, by column."""
        row = self._rows.row(row_key(shape), self.fleet)
        if row.version != self._version:
            behind = self._version - row.version
            if row.version < 0 or behind > HISTORY_MAX:
                loops.refresh_all(self.fleet.count, *self._arrays, *row.arrays)
            else:
                loops.refresh_changed(
                    row.version, self._version, self._history, *self._arrays, *row.arrays
                )
            row.version = self._version
        nodes, scores = self.fleet.nodes, row.arrays.scores
        if self._tombola is not None:
            column = self._tombola.draw(self.fleet.count, shape.memory_mib, closed, nodes, scores)
        else:
            weight = self._loss_weight()
            column = loops.pick(self.fleet.count, shape.memory_mib, weight, closed, nodes, scores)
        if column < 0:
            return None
        if not shape.gpus:
            return Choice(self.fleet.names[column], ())
        device = int(scores[DEVICE, column])
        if device != NO_DEVICE:
            return Choice(self.fleet.names[column], (device,))
        mask = whole_devices(column, shape.gpus, self.fleet.devices, row.arrays.kinds)
        devices = tuple(d for d in range(self.fleet.devices.shape[2]) if mask >> d & 1)
        return Choice(self.fleet.names[column], devices)

    def take(self, choice: Choice, shape: PackShape) -> None:
        """The rank holds what was chosen."""
        self._charge(choice, shape, 1)

    def give(self, choice: Choice, shape: PackShape) -> None:
        """The rank no longer holds it."""
        self._charge(choice, shape, -1)

    def fragmented_milli(self) -> int:
        """F of all nodes: the free milli-GPU that the workload, on average, could not use."""
        nodes = self.fleet.nodes[:, : self.fleet.count]
        return int(nodes[TOTAL].sum()) - (int(nodes[FILL].sum()) >> WEIGHT_SUM_BITS)

    # -- parts
    def _charge(self, choice: Choice, shape: PackShape, sign: int) -> None:
        column = self.fleet.columns[choice.node]
        mask = 0
        for device in choice.devices:
            mask |= 1 << device
        self._count(column, -1)
        loops.charge(
            column,
            sign * shape.cpu_milli,
            sign * shape.memory_mib,
            sign * shape.gpu_milli,
            mask,
            *self._arrays[:6],
        )
        self._note(column)

    def _touch(self, column: int) -> None:
        """Everything that follows from what a node has."""
        loops.summarize(column, *self._arrays[:6])
        self._note(column)

    def _note(self, column: int) -> None:
        self._history[self._version % HISTORY_MAX] = column
        self.fleet.nodes[CHANGED, column] = self._version
        self._version += 1
        self._count(column, 1)

    def _count(self, column: int, sign: int) -> None:
        nodes = self.fleet.nodes
        if nodes[OPEN, column]:
            self.whole += sign * int(nodes[WHOLE, column])
            self.usable += sign * int(nodes[USABLE, column])

    def _loss_weight(self) -> int:
        return self.policy.loss_weight(self.whole / self.usable if self.usable else 0.0)

    def _use_profile(self) -> None:
        self._profile = profile_of(self.workload, self.fleet.kinds)
        self._kinds = len(self.fleet.kinds)
        self._use_arrays()

    def _use_arrays(self) -> None:
        """After the arrays have another size, or another workload: nothing kept is of use."""
        self._rows.clear()
        columns = self.fleet.nodes.shape[1]
        counts = np.zeros((2, columns, self._profile.groups.shape[1]), np.int64)
        self._arrays = (self.fleet.nodes, self.fleet.devices, counts, *self._profile)
        for column in range(self.fleet.count):
            loops.summarize(column, *self._arrays[:6])
