"""What will be asked for?

The jobs seen, counted by shape, and the workload that follows from them or that an operator has
given: a fact of the journal, so that whoever takes over chooses the same places. It does not know
which jobs wait, nor what is placed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from penstock_contracts.expectations import ExpectedShape, WorkloadExpected
from penstock_scheduler.core.packing.popularity import Popularity
from penstock_scheduler.core.packing.shapes import PackShape, RowKey
from penstock_scheduler.core.packing.workload import Workload, workload_of
from penstock_scheduler.core.placing.capacity import pack_shape
from penstock_scheduler.core.state import Shape

MODELS_LETTERS_MAX = 512
"""A shape that names more models than that counts as one that takes any."""
FACT_BYTES_MAX = 192 * 1024
"""Of shapes and prices in one fact; the rarest and the least are left out."""

_encode = msgspec.json.Encoder().encode
_T = TypeVar("_T")


class Counted(msgspec.Struct):
    """Jobs seen, as a snapshot holds them."""

    shapes: list[ExpectedShape]
    seen: int
    due_at: int
    is_due: bool
    fact: WorkloadExpected | None = None


class Expectation:
    """`fact` stands; `is_due`: so much has been seen since that it should be made anew."""

    def __init__(self) -> None:
        self.popularity = Popularity()
        self.fact: WorkloadExpected | None = None
        self.is_due = False

    def see(self, shape: Shape) -> None:
        """A job of this shape was submitted."""
        self.is_due |= self.popularity.see(countable(shape), shape.ranks)

    def unsee(self, shape: Shape) -> None:
        """The same job turned out to be impossible."""
        self.popularity.unsee(countable(shape), shape.ranks)

    def fold(self, fact: WorkloadExpected) -> Workload:
        """The fact stands from now on; what the packer is to expect."""
        self.fact, self.is_due = fact, False
        return Workload(
            tuple((_key(shape), shape.count) for shape in fact.shapes),
            fact.hole_values,
            tuple(sorted(fact.prices.items())),
            fact.cpu_milli_per_gpu,
        )

    def learned(
        self, devices: Mapping[str, int], waiting: Iterable[tuple[Shape, int]]
    ) -> WorkloadExpected:
        """The fact that follows from the jobs seen, and those of them that have waited."""
        queue = [(countable(shape), jobs * shape.ranks) for shape, jobs in waiting]
        return fact_of(self.popularity.workload(devices, queue), devices, given=False)

    def snapshot(self) -> Counted:
        popularity = self.popularity
        shapes = [_expected(key, count) for key, count in popularity.counts.items()]
        return Counted(shapes, popularity.seen, popularity.due_at, self.is_due, self.fact)

    def restore(self, counted: Counted) -> Workload | None:
        """What the packer is to expect, if a fact stands."""
        popularity = self.popularity
        popularity.counts = {_key(shape): shape.count for shape in counted.shapes}
        popularity.seen, popularity.due_at = counted.seen, counted.due_at
        workload = None if counted.fact is None else self.fold(counted.fact)
        self.is_due = counted.is_due
        return workload


def given(shapes: Iterable[ExpectedShape], devices: Mapping[str, int]) -> WorkloadExpected:
    """The fact that follows from what an operator expects."""
    counts = {_key(shape): shape.count for shape in shapes}
    return fact_of(workload_of(counts, devices), devices, given=True)


def fact_of(workload: Workload, devices: Mapping[str, int], *, given: bool) -> WorkloadExpected:
    """The workload as a fact that an entry of the journal can hold."""
    often = sorted(workload.counts, key=lambda one: (-one[1], one[0]))
    dear = sorted(workload.prices, key=lambda one: (-one[1], one[0]))
    return WorkloadExpected(
        tuple(sorted(_within([_expected(*one) for one in often]), key=_key)),
        workload.hole_values,
        dict(sorted(_within([one for one in dear if one[0] in devices]))),
        workload.cpu_milli_per_gpu,
        told_devices(devices),
        given,
    )


def told_devices(devices: Mapping[str, int]) -> dict[str, int]:
    """Devices by model, as a fact says them."""
    many = sorted(devices.items(), key=lambda one: (-one[1], one[0]))
    return dict(sorted(_within(many)))


def countable(shape: Shape) -> PackShape:
    """What of a shape is counted."""
    packed = pack_shape(shape)
    if sum(map(len, packed.models)) > MODELS_LETTERS_MAX:
        packed = packed._replace(models=())
    return packed


def expected_shapes(counts: Mapping[RowKey, int]) -> tuple[ExpectedShape, ...]:
    """Counts as plain data."""
    return tuple(_expected(key, count) for key, count in sorted(counts.items()))


def _within(items: list[_T]) -> list[_T]:
    """The first of them, as many as a third of the fact may hold."""
    kept, size = [], 0
    for item in items:
        size += len(_encode(item)) + 1
        if size > FACT_BYTES_MAX // 3:
            break
        kept.append(item)
    return kept


def _expected(key: RowKey, count: int) -> ExpectedShape:
    return ExpectedShape(*key, count)


def _key(shape: ExpectedShape) -> RowKey:
    return RowKey(shape.cpu_milli, shape.gpus, shape.gpu_milli, shape.gpu_memory_mib, shape.models)
