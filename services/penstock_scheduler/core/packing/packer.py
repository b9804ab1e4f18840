"""On which node, and which devices, does a rank of this shape go?

Keeps the score of every node for every shape asked for lately, and computes anew only what changed
since that shape was asked for last. The same input gives the same choice, with numba or without. It
does not know who asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from penstock_scheduler.core.packing import loops, scoring, vectors
from penstock_scheduler.core.packing.compiled import HAS_NUMBA
from penstock_scheduler.core.packing.fleet import Fleet, NodeRoom
from penstock_scheduler.core.packing.layout import (
    ALLOWED,
    CHANGED,
    DEVICE,
    FILL,
    FIXED,
    FREE,
    KIND,
    LOSS,
    MILLI,
    NO_DEVICE,
    OPEN,
    RANDOM,
    TOTAL,
    USABLE,
    WEIGHT_SUM_BITS,
    WHOLE,
    Array,
)
from penstock_scheduler.core.packing.leaders import Leaders, leaders
from penstock_scheduler.core.packing.policies import DEFAULT, Policy
from penstock_scheduler.core.packing.rows import KeptRow, Rows
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
    """`take` after every choice that is kept, and `give` when it ends, keep it true.

    `machine_code`: numba's loops or numpy's arrays; both choose the same.
    """

    def __init__(
        self,
        policy: Policy = DEFAULT,
        workload: Workload = EMPTY,
        *,
        seed: int = 0,
        machine_code: bool = HAS_NUMBA,
    ) -> None:
        self.fleet = Fleet()
        self.policy = policy
        self.workload = workload
        self.usable = self.whole = 0
        self._engine: Any = loops if machine_code else vectors
        self._whole_devices: Any = (scoring if machine_code else vectors).whole_devices
        self._version = 0
        self._history = np.zeros(HISTORY_MAX, np.int64)
        self._tombola = Tombola(seed) if policy.number == RANDOM else None
        self._use_profile()

    # -- what changes
    def expect(self, workload: Workload) -> None:
        """Takes the workload as what will come; all scores are computed anew when asked for."""
        self.workload = workload
        self._use_profile()

    def put(self, name: str, room: NodeRoom) -> None:
        """A node as it is now: new, or changed in whatever way."""
        known = self.fleet.columns.get(name)
        if known is not None:
            self._count(known, -1)
        size = self.fleet.devices.shape
        column = self.fleet.put(name, room)
        if len(self.fleet.kinds) != self._kinds:
            self._use_profile()
        elif self.fleet.devices.shape != size:
            self._use_arrays()
        self._engine.summarize(column, *self._arrays[:6])
        self._note(column)

    def remove(self, name: str) -> None:
        """The node is no more."""
        self._count(self.fleet.columns[name], -1)
        column = self.fleet.remove(name)
        self._engine.summarize(column, *self._arrays[:6])
        self._note(column)

    def open(self, name: str, is_open: bool) -> None:
        """Whether the node may get work; what is on it stays."""
        column = self.fleet.columns[name]
        self._count(column, -1)
        self.fleet.nodes[OPEN, column] = is_open
        self._note(column)

    def take(self, choice: Choice, shape: PackShape) -> None:
        """The rank holds what was chosen."""
        self._charge(choice, shape, 1)

    def give(self, choice: Choice, shape: PackShape) -> None:
        """The rank no longer holds it."""
        self._charge(choice, shape, -1)

    def reseed(self, seed: int) -> None:
        """Where chance places: what it draws next follows from this number alone."""
        if self._tombola is not None:
            self._tombola = Tombola(seed)

    # -- what is asked
    def choose(self, shape: PackShape, closed: Array = NOBODY) -> Choice | None:
        """The best place for one rank now, or None. `closed`: nodes it must not use, see `mask`."""
        row = self._row(shape)
        nodes, scores = self.fleet.nodes, row.arrays.scores
        count, memory_mib, units = self.fleet.count, shape.memory_mib, shape.units
        if self._tombola is not None:
            columns = vectors.fitting(count, memory_mib, units, closed, nodes, scores)
            column = self._tombola.draw(columns, nodes)
        else:
            weight = self.loss_weight()
            column = self._engine.pick(count, memory_mib, units, weight, closed, nodes, scores)
        return None if column < 0 else self._choice(row, column, shape)

    def plan(
        self, shape: PackShape, ranks: int, closed: Array = NOBODY
    ) -> tuple[Choice, ...] | None:
        """Places for that many ranks together, or None; nothing is taken."""
        found: list[Choice] = []
        while len(found) < ranks:
            choice = self.choose(shape, closed)
            if choice is None:
                break
            self.take(choice, shape)
            found.append(choice)
        for choice in reversed(found):
            self.give(choice, shape)
        return tuple(found) if len(found) == ranks else None

    def ranking(
        self, shape: PackShape, most: int, closed: Array = NOBODY
    ) -> list[tuple[int, Choice]]:
        """The best places with their scores, best first: what `choose` has to choose from."""
        row = self._row(shape)
        found = self.leaders(shape, most, closed)
        places = zip(found.scores.tolist(), found.columns.tolist(), strict=True)
        return [(score, self._choice(row, column, shape)) for score, column in places]

    def leaders(self, shape: PackShape, most: int, closed: Array = NOBODY) -> Leaders:
        """How many nodes could take one rank now, and the best of them."""
        scores = self._row(shape).arrays.scores
        return leaders(
            (self.fleet.count, shape.memory_mib, shape.units, self.loss_weight()),
            (closed, self.fleet.nodes, scores),
            most,
            machine_code=self._engine is loops,
        )

    def values(self, shape: PackShape, columns: Array) -> Array:
        """What nodes on which a rank fits are worth to it; the most is best."""
        scores = self._row(shape).arrays.scores
        values: Array = scores[FIXED, columns] - self.loss_weight() * scores[LOSS, columns] // MILLI
        return values

    def mask(self, names: Iterable[str]) -> Array:
        """Nodes as `choose` wants them closed; unknown ones are left out. True until a node comes
        or goes."""
        closed = np.zeros(self.fleet.nodes.shape[1], np.bool_)
        for name in names:
            column = self.fleet.columns.get(name)
            if column is not None:
                closed[column] = True
        return closed

    def fragmented_milli(self) -> int:
        """F of all nodes: the free milli-GPU that the workload, on average, could not use."""
        nodes = self.fleet.nodes[:, : self.fleet.count]
        return int(nodes[TOTAL].sum()) - (int(nodes[FILL].sum()) >> WEIGHT_SUM_BITS)

    def loss_weight(self) -> int:
        """What a poor pattern counts now, in thousandths."""
        return self.policy.loss_weight(self.whole / self.usable if self.usable else 0.0)

    # -- parts
    def _row(self, shape: PackShape) -> KeptRow:
        row = self._rows.row(row_key(shape), self.fleet)
        if row.version != self._version:
            if row.version < 0 or self._version - row.version > HISTORY_MAX:
                self._engine.refresh_all(self.fleet.count, *self._arrays, *row.arrays)
            else:
                self._engine.refresh_changed(
                    row.version, self._version, self._history, *self._arrays, *row.arrays
                )
            row.version = self._version
        return row

    def _choice(self, row: KeptRow, column: int, shape: PackShape) -> Choice:
        name = self.fleet.names[column]
        if not shape.gpus:
            return Choice(name, ())
        device = int(row.arrays.scores[DEVICE, column])
        if device != NO_DEVICE:
            return Choice(name, (device,))
        nodes, devices, allowed = self.fleet.nodes, self.fleet.devices, row.arrays.kinds
        end = int(self._whole_devices(column, shape.gpus, nodes, devices, allowed))
        kinds, free = devices[KIND, column, :end].tolist(), devices[FREE, column, :end].tolist()
        may = allowed[ALLOWED].tolist()
        return Choice(
            name,
            tuple(
                d
                for d in range(end)
                if kinds[d] != NO_DEVICE and free[d] == MILLI and may[kinds[d]]
            ),
        )

    def _charge(self, choice: Choice, shape: PackShape, sign: int) -> None:
        column = self.fleet.columns[choice.node]
        self._count(column, -1)
        self._engine.charge(
            column,
            sign * shape.cpu_milli,
            sign * shape.memory_mib,
            sign * shape.units,
            sign * shape.gpu_milli,
            np.array(choice.devices, np.int64),
            *self._arrays[:6],
        )
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

    def _use_profile(self) -> None:
        self._profile = profile_of(self.workload, self.fleet.kinds, self.policy.typical_step)
        self._rows = Rows(self.policy, self.workload)
        self._kinds = len(self.fleet.kinds)
        self._use_arrays()

    def _use_arrays(self) -> None:
        """After the arrays have another size, or another workload: nothing kept is of use."""
        self._rows.clear()
        columns = self.fleet.nodes.shape[1]
        counts = np.zeros((2, columns, self._profile.groups.shape[1]), np.int32)
        self._arrays = (self.fleet.nodes, self.fleet.devices, counts, *self._profile)
        for column in range(self.fleet.count):
            self._engine.summarize(column, *self._arrays[:6])
