"""Fleets, shapes and workloads for the tests of the packing core; only made here."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from penstock_scheduler.core.packing.fleet import NodeRoom, empty_node
from penstock_scheduler.core.packing.packer import Choice, Packer
from penstock_scheduler.core.packing.policies import POLICIES
from penstock_scheduler.core.packing.shapes import PackShape
from penstock_scheduler.core.packing.workload import Workload, count_shapes, workload_of

MODELS = (("A", 16_000), ("A", 32_000), ("B", None))
NAMES = tuple(f"n{i}" for i in range(6))

SHAPES = (
    PackShape(2_000, 1_000),
    PackShape(8_000, 4_000, 1, 1000),
    PackShape(4_000, 2_000, 1, 470),
    PackShape(4_000, 9_000, 1, 320, 8_000),
    PackShape(1_000, 2_000, 1, 810, None, ("A",)),
    PackShape(6_000, 2_000, 1, 230, None, ("A", "B")),
    PackShape(16_000, 8_000, 2, 1000, 20_000),
    PackShape(20_000, 8_000, 4, 1000, None, ("B",)),
)


def a_node(
    gpus: int = 4, *, model: str = "A", cpu_milli: int = 64_000, memory_mib: int = 64_000
) -> NodeRoom:
    return empty_node(cpu_milli, memory_mib, [(model, 16_000)] * gpus)


def a_workload(shapes: Sequence[PackShape] = SHAPES) -> Workload:
    counts = count_shapes(shapes)
    weighted = {key: count * (3 + i) for i, (key, count) in enumerate(sorted(counts.items()))}
    return workload_of(weighted, {"A": 20, "B": 10})


def a_packer(
    policy: str = "penstock", *, nodes: dict[str, NodeRoom] | None = None, machine_code: bool = True
) -> Packer:
    packer = Packer(POLICIES[policy], a_workload(), seed=7, machine_code=machine_code)
    for name, room in (nodes or {}).items():
        packer.put(name, room)
    return packer


rooms = st.builds(
    empty_node,
    st.sampled_from((8_000, 32_000, 96_000)),
    st.sampled_from((8_000, 64_000)),
    st.lists(st.sampled_from((*MODELS, None)), max_size=9),
)
names = st.sampled_from(NAMES)
steps = st.one_of(
    st.tuples(st.just("place"), st.sampled_from(SHAPES)),
    st.tuples(st.just("place"), st.sampled_from(SHAPES)),
    st.tuples(st.just("leave"), st.integers(0, 1_000)),
    st.tuples(st.just("join"), st.tuples(names, rooms)),
    st.tuples(st.just("lose"), names),
    st.tuples(st.just("drain"), names),
    st.tuples(st.just("open"), names),
    st.tuples(st.just("learn"), st.integers(1, 7)),
)
histories = st.lists(steps, min_size=1, max_size=60)


class History:
    """Applies steps to a packer, and remembers what is placed where."""

    def __init__(self, packer: Packer) -> None:
        self.packer = packer
        self.held: list[tuple[Choice, PackShape]] = []
        self.story: list[object] = []
        for name in NAMES[:4]:
            packer.put(name, a_node(model="AB"[len(self.story) % 2]))
            self.story.append(name)

    def apply(self, kind: str, what: object) -> None:
        getattr(self, f"_{kind}")(what)

    def _place(self, shape: PackShape) -> None:
        choice = self.packer.choose(shape)
        self.story.append(choice)
        if choice is not None:
            self.packer.take(choice, shape)
            self.held.append((choice, shape))

    def _leave(self, number: int) -> None:
        if self.held:
            self.packer.give(*self.held.pop(number % len(self.held)))

    def _join(self, what: tuple[str, NodeRoom]) -> None:
        """A node with other hardware is a new machine: nothing runs on it any more."""
        self._forget(what[0])
        self.packer.put(*what)

    def _lose(self, name: str) -> None:
        self._forget(name)
        if name in self.packer.fleet.columns:
            self.packer.remove(name)

    def _drain(self, name: str) -> None:
        if name in self.packer.fleet.columns:
            self.packer.open(name, False)

    def _open(self, name: str) -> None:
        if name in self.packer.fleet.columns:
            self.packer.open(name, True)

    def _learn(self, number: int) -> None:
        self.packer.expect(a_workload(SHAPES[number:]))

    def _forget(self, name: str) -> None:
        self.held = [one for one in self.held if one[0].node != name]


def twin_of(packer: Packer) -> Packer:
    """The same fleet and workload, with nothing kept from before."""
    twin = Packer(packer.policy, packer.workload, machine_code=False)
    for name in sorted(packer.fleet.columns, reverse=True):
        twin.put(name, packer.fleet.room(name))
    return twin
