"""Which places did a decision choose from?

The number of nodes that could take the rank, and the best of them as they were, copied so cheaply
that it can be done for every decision; what these mean is made out only when somebody asks. It does
not know jobs, nor when it is forgotten.
"""

from __future__ import annotations

from typing import NamedTuple

from penstock_scheduler.core.packing.fleet import NodeRoom, room_in
from penstock_scheduler.core.packing.layout import MILLI, PENSTOCK, Array
from penstock_scheduler.core.packing.leaders import Leaders
from penstock_scheduler.core.packing.packer import NOBODY, Choice, Packer
from penstock_scheduler.core.packing.parts import Parts, Terms, parts_in, terms_of
from penstock_scheduler.core.packing.shapes import PackShape, row_key
from penstock_scheduler.core.packing.workload import DeviceKind, may_use


class Place(NamedTuple):
    """One of them. `parts` add up to the score; None = the policy's scores have no parts."""

    choice: Choice
    score: int
    parts: Parts | None


class Considered(NamedTuple):
    """Who leads, by which terms, and copies of their columns. `kinds`: the fleet's, which only
    grow."""

    shape: PackShape
    leaders: Leaders
    names: tuple[str, ...]
    nodes: Array
    devices: Array
    kinds: list[DeviceKind]
    terms: Terms

    @property
    def able(self) -> int:
        """Nodes that could take the rank."""
        return self.leaders.able

    def places(self) -> list[Place]:
        """The best of them, best first."""
        return [self._place(index, name) for index, name in enumerate(self.names)]

    def _place(self, index: int, name: str) -> Place:
        room = room_in(index, self.nodes, self.devices, self.kinds)
        devices = self._devices(index, room)
        parts = None
        if self.terms.policy.number == PENSTOCK:
            parts = parts_in(room, self.shape, devices, self.terms)
        return Place(Choice(name, devices), int(self.leaders.scores[index]), parts)

    def _devices(self, index: int, room: NodeRoom) -> tuple[int, ...]:
        if self.shape.shares:
            return (int(self.leaders.devices[index]),)
        key = row_key(self.shape)
        whole = (
            device
            for device, kind in enumerate(room.devices)
            if kind is not None and room.free_milli[device] == MILLI and may_use(key, kind)
        )
        return tuple(device for device, _ in zip(whole, range(self.shape.gpus), strict=False))


def consider(packer: Packer, shape: PackShape, most: int, closed: Array = NOBODY) -> Considered:
    """What `packer.choose` has to choose from now."""
    found = packer.leaders(shape, most, closed)
    fleet = packer.fleet
    return Considered(
        shape,
        found,
        tuple(fleet.names[column] for column in found.columns.tolist()),
        fleet.nodes[:, found.columns],
        fleet.devices[:, found.columns],
        fleet.kinds,
        terms_of(packer),
    )


def place_of(packer: Packer, shape: PackShape, choice: Choice) -> Place | None:
    """What a place, on which the rank must fit, is worth now; None when the policy's scores have no
    parts to make it out from."""
    if packer.policy.number != PENSTOCK:
        return None
    room = packer.fleet.room(choice.node)
    parts = parts_in(room, shape, choice.devices, terms_of(packer))
    return Place(choice, sum(parts), parts)
