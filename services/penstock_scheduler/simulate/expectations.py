"""What does the packer expect while the jobs of a trace arrive?

All of the list, which is known, or what the jobs seen so far tell. It does not place them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from penstock_scheduler.core.packing.packer import Packer
from penstock_scheduler.core.packing.popularity import Popularity
from penstock_scheduler.core.packing.shapes import PackShape
from penstock_scheduler.core.packing.workload import Workload, count_shapes, workload_of
from penstock_scheduler.simulate.traces import Nodes

LIST, ONLINE = "list", "online"


def known_workload(mode: str, jobs: Iterable[PackShape], nodes: Nodes) -> Workload | None:
    """What is known before the first job arrives; None = nothing."""
    return workload_of(count_shapes(jobs), nodes.models) if mode == LIST else None


class Expectations:
    """Tells the packer, at once and with each job that is seen. `known`: None = to be learned;
    `waiting`: the shapes of those that found no room, with their numbers. As the service does."""

    def __init__(
        self,
        packer: Packer,
        nodes: Nodes,
        known: Workload | None,
        waiting: Callable[[], Iterable[tuple[PackShape, int]]],
    ) -> None:
        self._packer = packer
        self._nodes = nodes
        self._waiting = waiting
        self._popularity = Popularity() if known is None else None
        if known is not None:
            packer.expect(known)
        else:
            self._learn()

    def see(self, shape: PackShape) -> None:
        """A job of this shape arrives."""
        if self._popularity is not None and self._popularity.see(shape):
            self._learn()

    def _learn(self) -> None:
        if self._popularity is not None:
            self._packer.expect(self._popularity.workload(self._nodes.models, self._waiting()))
