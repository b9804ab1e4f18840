"""Which nodes are alike, and which of them is tightest?

An index over the nodes, derived from them: those with the same hardware together, and within each
kind those that may get work, tightest first. So a placement looks at few nodes however many there
are, and whether a job could ever run is asked once per kind. It does not know what fits.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

import msgspec

from penstock_contracts.journal import NodeImaged
from penstock_scheduler.core.state import Node, Shape

SHAPES_KNOWN_MAX = 10_000
"""Of so many shapes it is remembered whether the empty fleet has room for them."""

Tightness = tuple[int, int, str]
"""(free milli-GPU of any model, free milli-CPU, name): smaller is tighter."""
_Kind = tuple[int, int, tuple[tuple[str, int | None], ...]]


def tightness(node: Node) -> Tightness:
    """A node's place among its kind."""
    return (sum(node.free), node.cpu_free, node.image.node)


class Alike(msgspec.Struct):
    """Nodes with the same hardware. `image`: such a node with all devices healthy. `names`: all of
    them; `open`: those that may get work, in order."""

    image: NodeImaged
    names: dict[str, None] = {}
    open: list[Tightness] = []

    @property
    def count(self) -> int:
        return len(self.names)

    def tightest(self, need_milli: int) -> Iterator[Tightness]:
        """The nodes with at least so much free, tightest first."""
        for index in range(bisect_left(self.open, (need_milli,)), len(self.open)):
            yield self.open[index]


class _Entry(msgspec.Struct):
    image: NodeImaged
    alike: Alike
    place: Tightness | None


class Capacity:
    """`update` after every change of a node keeps it true."""

    def __init__(self) -> None:
        self._alike: dict[_Kind, Alike] = {}
        self._entries: dict[str, _Entry] = {}
        self._fits: dict[Shape, bool] = {}

    def kinds(self) -> Iterable[Alike]:
        return self._alike.values()

    def update(self, name: str, node: Node | None) -> None:
        """The node as it is now; None = it is no more."""
        entry = self._entries.get(name)
        if node is None:
            if entry is not None:
                self._leave(entry)
                del self._entries[name]
            return
        if entry is None or entry.image is not node.image:
            if entry is not None:
                self._leave(entry)
            entry = self._entries[name] = _Entry(node.image, self._join(node.image), None)
        place = tightness(node) if node.schedulable else None
        if place != entry.place:
            _move(entry, place)

    def known_fit(self, shape: Shape) -> bool | None:
        """Whether the shape was found to fit the present fleet when empty; None = not known."""
        return self._fits.get(shape)

    def note_fit(self, shape: Shape, fits: bool) -> None:
        """Remembers that until the hardware changes."""
        if len(self._fits) >= SHAPES_KNOWN_MAX:
            self._fits.clear()
        self._fits[shape] = fits

    def _join(self, image: NodeImaged) -> Alike:
        kind = _kind_of(image)
        alike = self._alike.get(kind)
        if alike is None:
            alike = self._alike[kind] = Alike(_as_healthy(image))
        alike.names[image.node] = None
        self._fits.clear()
        return alike

    def _leave(self, entry: _Entry) -> None:
        _move(entry, None)
        del entry.alike.names[entry.image.node]
        self._fits.clear()
        if not entry.alike.names:
            del self._alike[_kind_of(entry.image)]


def _move(entry: _Entry, place: Tightness | None) -> None:
    nodes = entry.alike.open
    if entry.place is not None:
        nodes.pop(bisect_left(nodes, entry.place))
    if place is not None:
        insort(nodes, place)
    entry.place = place


def _kind_of(image: NodeImaged) -> _Kind:
    devices = tuple((model, memory_mib) for _, model, memory_mib in image.devices)
    return (image.cpu_milli, image.memory_mib, devices)


def _as_healthy(image: NodeImaged) -> NodeImaged:
    return NodeImaged(
        node=image.node,
        boot_id=image.boot_id,
        cpu_milli=image.cpu_milli,
        memory_mib=image.memory_mib,
        devices=image.devices,
    )
