"""What is free where, for whoever places?

Three indexes over the nodes, derived from them: the packer, which knows what is free and what every
place is worth; the topology, which knows what lies close together; and the nodes with the same
hardware together, so that whether a job could ever run is asked once per kind. Changes are only
noted; the packer hears of them when it is asked for, each node once however often it changed. It
does not know what is placed.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock_contracts.journal import NodeImaged
from penstock_scheduler.core.packing.compiled import HAS_NUMBA
from penstock_scheduler.core.packing.fleet import NodeRoom
from penstock_scheduler.core.packing.packer import Packer
from penstock_scheduler.core.packing.policies import DEFAULT, Policy
from penstock_scheduler.core.packing.shapes import PackShape
from penstock_scheduler.core.packing.workload import DeviceKind, Workload
from penstock_scheduler.core.placing.topology import Topology
from penstock_scheduler.core.queue.keeping.kept import Kept
from penstock_scheduler.core.queue.keeping.places import Places
from penstock_scheduler.core.queue.keeping.reservations import Reservations
from penstock_scheduler.core.state import Node, Shape

KINDS_MAX = 500
"""Device kinds, also of nodes that are no more, after which the packer is made anew."""
SHAPES_KNOWN_MAX = 10_000
"""Of so many shapes it is remembered whether the empty fleet has room for them."""

_Kind = tuple[str, int, int, tuple[tuple[str, int | None], ...]]


def pack_shape(shape: Shape) -> PackShape:
    """What one rank of a job asks of one node."""
    if not shape.gpus:
        return PackShape(shape.cpu_milli, shape.memory_mib, units=shape.order_units)
    return PackShape(
        shape.cpu_milli,
        shape.memory_mib,
        shape.gpus,
        shape.gpu_milli,
        shape.gpu_memory_mib,
        shape.gpu_models,
        shape.order_units,
    )


def room_of(node: Node, kinds: tuple[DeviceKind | None, ...]) -> NodeRoom:
    """A node as the packer sees it; `kinds` are those of its image. What is kept for somebody is
    not free."""
    if node.kept is not None:
        return _room_left(node, kinds, node.kept)
    return NodeRoom(
        node.cpu_free,
        node.memory_free,
        kinds,
        tuple(node.free),
        node.schedulable,
        node.order_units_free,
    )


def _room_left(node: Node, kinds: tuple[DeviceKind | None, ...], kept: Kept) -> NodeRoom:
    """The same, without what is kept."""
    free = zip(node.free, kept.devices, strict=True)
    return NodeRoom(
        max(0, node.cpu_free - kept.cpu_milli),
        max(0, node.memory_free - kept.memory_mib),
        kinds,
        tuple(max(0, is_free - for_others) for is_free, for_others in free),
        node.schedulable,
        max(0, node.order_units_free - kept.units),
    )


def kinds_of(image: NodeImaged) -> tuple[DeviceKind | None, ...]:
    """What each device is; None = not to be used."""
    return tuple(
        None if uuid in image.unhealthy else (model, memory_mib)
        for uuid, model, memory_mib in image.devices
    )


class Alike(msgspec.Struct):
    """Nodes of one pool with the same hardware. `image`: such a node with all devices healthy.
    `images`: all of them, by name."""

    image: NodeImaged
    pool: str = ""
    images: dict[str, NodeImaged] = {}

    @property
    def count(self) -> int:
        return len(self.images)


class _Entry(msgspec.Struct):
    image: NodeImaged
    alike: Alike
    kinds: tuple[DeviceKind | None, ...]


class Capacity:
    """`update` after every change of a node keeps it true, and what is kept of it. `places` and
    `reservations`: as they hold."""

    def __init__(self, policy: Policy = DEFAULT, *, machine_code: bool = HAS_NUMBA) -> None:
        self.topology = Topology()
        self.places: Places | None = None
        self.reservations: Reservations | None = None
        self._machine_code = machine_code
        self._packer = Packer(policy, machine_code=machine_code)
        self._kinds_max = KINDS_MAX
        self._changed: dict[str, Node | None] = {}
        self._expected: Workload | None = None
        self._alike: dict[_Kind, Alike] = {}
        self._entries: dict[str, _Entry] = {}
        self._fits: dict[Shape, bool] = {}
        self._may_run: dict[Shape, bool] = {}

    def kinds(self, pool: str | None = None) -> Iterable[Alike]:
        """Those of one pool; None = all."""
        if pool is None:
            return self._alike.values()
        return [alike for alike in self._alike.values() if alike.pool == pool]

    @property
    def packer(self) -> Packer:
        """The packer with everything that was told until now."""
        if self._expected is not None:
            self._packer.expect(self._expected)
            self._expected = None
        if self._changed:
            for name, node in self._changed.items():
                if node is not None:
                    self._packer.put(name, room_of(node, self._entries[name].kinds))
                elif name in self._packer.fleet.columns:
                    self._packer.remove(name)
            self._changed.clear()
            if len(self._packer.fleet.kinds) > self._kinds_max:
                self._forget_kinds()
        return self._packer

    def expect(self, workload: Workload) -> None:
        """What will be asked for, from now on."""
        self._expected = workload

    def models(self) -> dict[str, int]:
        """Devices of each model, whatever state they are in."""
        found: dict[str, int] = {}
        for alike in self._alike.values():
            for _, model, _ in alike.image.devices:
                found[model] = found.get(model, 0) + alike.count
        return found

    def update(self, name: str, node: Node | None) -> None:
        """The node as it is now; None = it is no more."""
        self._changed[name] = node
        if self.places is not None:
            self.places.refresh(name, node)
        entry = self._entries.get(name)
        if node is None:
            if entry is not None:
                self._leave(entry)
                del self._entries[name]
                self.topology.remove(name)
            return
        if entry is None or entry.image is not node.image or entry.alike.pool != node.pool:
            if entry is not None:
                self._leave(entry)
            image = node.image
            self._entries[name] = _Entry(image, self._join(image, node.pool), kinds_of(image))
            self.topology.put(image, node.pool)

    def known_fit(self, shape: Shape) -> bool | None:
        """Whether the shape was found to fit the present fleet when empty; None = not known."""
        return self._fits.get(shape)

    def note_fit(self, shape: Shape, fits: bool) -> None:
        """Remembers that until the hardware changes."""
        if len(self._fits) >= SHAPES_KNOWN_MAX:
            self._fits.clear()
        self._fits[shape] = fits

    def known_to_run(self, shape: Shape) -> bool | None:
        """Whether nodes that take work, or will, could hold the shape when empty; None = not
        known. As long as no node is another than before."""
        return self._may_run.get(shape)

    def note_to_run(self, shape: Shape, may: bool) -> None:
        if len(self._may_run) >= SHAPES_KNOWN_MAX:
            self._may_run.clear()
        self._may_run[shape] = may

    def _forget_kinds(self) -> None:
        """A packer forgets no kind of device, so another one takes its place."""
        before = self._packer
        packer = Packer(before.policy, before.workload, machine_code=self._machine_code)
        for name in before.fleet.columns:
            packer.put(name, before.fleet.room(name))
        self._packer, self._kinds_max = packer, max(KINDS_MAX, 2 * len(packer.fleet.kinds))

    def _join(self, image: NodeImaged, pool: str) -> Alike:
        kind = _kind_of(image, pool)
        alike = self._alike.get(kind)
        if alike is None:
            alike = self._alike[kind] = Alike(_as_healthy(image), pool)
        alike.images[image.node] = image
        self._fits.clear()
        self._may_run.clear()
        return alike

    def _leave(self, entry: _Entry) -> None:
        del entry.alike.images[entry.image.node]
        self._fits.clear()
        self._may_run.clear()
        if not entry.alike.images:
            del self._alike[_kind_of(entry.image, entry.alike.pool)]


def _kind_of(image: NodeImaged, pool: str) -> _Kind:
    devices = tuple((model, memory_mib) for _, model, memory_mib in image.devices)
    return (pool, image.cpu_milli, image.memory_mib, devices)


def _as_healthy(image: NodeImaged) -> NodeImaged:
    return NodeImaged(
        node=image.node,
        boot_id=image.boot_id,
        cpu_milli=image.cpu_milli,
        memory_mib=image.memory_mib,
        devices=image.devices,
    )
