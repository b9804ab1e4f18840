"""Where does a job fit?

A single rank goes where the packer scores best, a gang where its ranks fit together; of several
alternatives the first that fits. Nothing here changes state. It does not know who is next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import msgspec

from penstock_contracts.asks import SITE
from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_contracts.journal import NodeImaged, RankPlacement
from penstock_contracts.nodes import is_instance
from penstock_scheduler.core.packing.layout import Array
from penstock_scheduler.core.placing.capacity import Alike, Capacity, pack_shape
from penstock_scheduler.core.placing.gangs import is_gang, place_gang
from penstock_scheduler.core.placing.wishes import closed_columns, could_ever, is_picky
from penstock_scheduler.core.state import Node, Shape, new_node


class Placed(NamedTuple):
    """Where the ranks of a job go, and as which of its alternatives; 0 = what it asks itself.
    `refused_too`: nodes that have refused it were asked again."""

    alternative: int
    ranks: tuple[RankPlacement, ...]
    refused_too: bool = False


def usable_devices(shape: Shape, image: NodeImaged) -> list[int]:
    """Indices of the devices of a node on which a job of this shape may run at all."""
    return [
        index
        for index, (uuid, model, memory_mib) in enumerate(image.devices)
        if _is_for(shape, model) and uuid not in image.unhealthy and _has_memory(shape, memory_mib)
    ]


def _is_for(shape: Shape, model: str) -> bool:
    """Whether it takes the model; of a GPU's instances one that it names, and no second device."""
    if is_instance(model):
        return shape.gpus == 1 and model in shape.gpu_models
    return not shape.gpu_models or model in shape.gpu_models


def _has_memory(shape: Shape, memory_mib: int | None) -> bool:
    """Whether the share of a device's memory suffices; an unknown memory suffices for no demand."""
    if shape.gpu_memory_mib is None:
        return True
    if memory_mib is None:
        return False
    return shape.gpu_memory_mib * GPU_MILLI_WHOLE <= memory_mib * shape.gpu_milli


def devices_for_rank(shape: Shape, usable: list[int], free: list[int]) -> list[int] | None:
    """Device indices for one rank, or None. `free` is milli-GPU per device."""
    if shape.gpus == 0:
        return []
    if shape.gpu_milli < GPU_MILLI_WHOLE:
        fitting = [(free[i], i) for i in usable if free[i] >= shape.gpu_milli]
        return [min(fitting)[1]] if fitting else None
    whole = [i for i in usable if free[i] == GPU_MILLI_WHOLE]
    return whole[: shape.gpus] if len(whole) >= shape.gpus else None


def ranks_on(shape: Shape, node: Node, ranks_max: int) -> list[list[int]]:
    """The devices of as many ranks as fit on one node now, at most `ranks_max`."""
    placed: list[list[int]] = []
    if shape.gpus:
        usable = usable_devices(shape, node.image)
        if len(usable) < shape.gpus:
            return placed
    else:
        usable = []
    free = list(node.free)
    cpu, memory = node.cpu_free, node.memory_free
    ranks_max = min(ranks_max, node.order_units_free // shape.order_units)
    while len(placed) < ranks_max and cpu >= shape.cpu_milli and memory >= shape.memory_mib:
        devices = devices_for_rank(shape, usable, free)
        if devices is None:
            break
        for index in devices:
            free[index] -= shape.gpu_milli
        cpu -= shape.cpu_milli
        memory -= shape.memory_mib
        placed.append(devices)
    return placed


def any_may_hold(shape: Shape, names: Iterable[str], nodes: dict[str, Node]) -> bool:
    """Whether one of these nodes has room for a part of such a job: sure only when it says no, but
    much cheaper than to ask for the best place."""
    for name in names:
        node = nodes.get(name)
        if node is None or not node.may_hold(shape):
            continue
        if is_gang(shape) or shape.alternatives or ranks_on(shape, node, 1):
            return True
    return False


def place(
    shape: Shape,
    nodes: dict[str, Node],
    capacity: Capacity,
    among: Collection[int] | None = None,
) -> Placed | None:
    """Places every rank of a job of this shape, or none. `capacity` is of `nodes`. Of several
    alternatives the first that fits now is taken; `among`: only of these, by number.

    Nodes that have refused it are asked again only when the others could never hold it: a job
    waits for room, not for a node that there is not.
    """
    placed = _place_any(shape, nodes, capacity, among)
    if placed is None and shape.avoid:
        placed = _place_any(without_refusals(shape), nodes, capacity, among)
        if placed is None or fits_elsewhere(shape, nodes, capacity):
            return None
        return placed._replace(refused_too=True)
    return placed


def _place_any(
    shape: Shape, nodes: dict[str, Node], capacity: Capacity, among: Collection[int] | None
) -> Placed | None:
    for alternative, option in enumerate((shape, *shape.alternatives)):
        if among is not None and alternative not in among:
            continue
        ranks = place_option(option, nodes, capacity)
        if ranks is not None:
            return Placed(alternative, ranks)
    return None


def without_refusals(shape: Shape) -> Shape:
    """The shape, as if no node had refused it."""
    alternatives = tuple(map(without_refusals, shape.alternatives))
    return msgspec.structs.replace(shape, avoid=(), alternatives=alternatives)


def closed_to(shape: Shape, nodes: dict[str, Node], capacity: Capacity) -> Array:
    """The columns of the packer's fleet that a job of this shape must not use, alternatives
    aside."""
    fleet, topology = capacity.packer.fleet, capacity.topology
    closed = closed_columns(shape, nodes, fleet, topology)
    if capacity.reservations:
        closed = capacity.reservations.closing(closed, shape, fleet, topology)
    return closed


def place_option(
    shape: Shape, nodes: dict[str, Node], capacity: Capacity
) -> tuple[RankPlacement, ...] | None:
    """Places every rank of a job of this shape, its alternatives aside."""
    packer = capacity.packer
    closed = closed_to(shape, nodes, capacity)
    if is_gang(shape):
        return place_gang(shape, nodes, packer, capacity.topology, closed)
    choice = packer.choose(pack_shape(shape), closed)
    if choice is None:
        return None
    devices = nodes[choice.node].image.devices
    return (RankPlacement(0, choice.node, tuple(devices[i][0] for i in choice.devices), 0),)


def fits_when_empty(shape: Shape, capacity: Capacity) -> bool:
    """Whether a job of this shape could ever run: it fits all registered nodes of its pool
    together, when empty, whether these are alive, lost, cordoned or draining.
    """
    return any(
        _all_hold(option, capacity.kinds(_pool_of(option)))
        and (not is_picky(option) or could_ever(option, capacity.topology))
        for option in (shape, *shape.alternatives)
    )


def _all_hold(shape: Shape, kinds: Iterable[Alike]) -> bool:
    left = shape.ranks
    for alike in kinds:
        left -= len(ranks_on(shape, new_node(alike.image), left)) * alike.count
        if left <= 0:
            return True
    return False


def may_ever_run(shape: Shape, nodes: dict[str, Node], capacity: Capacity) -> bool:
    """Whether nodes that take work, if only after a rest, could hold such a job when empty."""
    known = capacity.known_to_run(shape)
    if known is None:
        known = fits_elsewhere(without_refusals(shape), nodes, capacity)
        capacity.note_to_run(shape, known)
    return known


def _pool_of(shape: Shape) -> str | None:
    return None if shape.leaf is None else shape.leaf.pool


def fits_elsewhere(shape: Shape, nodes: dict[str, Node], capacity: Capacity) -> bool:
    """Whether a job of this shape could run, once they are empty, on nodes that have not refused
    it and take work, if only after a rest. One that is lost, cordoned or draining may never again.
    """
    options = (shape, *shape.alternatives)
    return any(_others_hold(option, nodes, capacity) for option in options)


def _others_hold(shape: Shape, nodes: dict[str, Node], capacity: Capacity) -> bool:
    if is_picky(shape):
        return could_ever(shape, capacity.topology, without=_not_elsewhere(shape, nodes))
    found = islice(when_empty(shape, capacity), shape.ranks)
    return sum(1 for _ in found) == shape.ranks


def when_empty(shape: Shape, capacity: Capacity) -> Iterator[tuple[Node, list[int]]]:
    """One rank of it after the other, on empty nodes that take work and have not refused it: the
    node, and the devices by index. Where its ranks have to be is not looked at; of nodes with the
    same hardware at the same site, for which the price is the same, there are as many as it has."""
    for alike in capacity.kinds(_pool_of(shape)):
        if not ranks_on(shape, new_node(alike.image), 1):
            continue
        found: dict[str, int] = {}
        for name, image in alike.images.items():
            site = image.labels.get(SITE, "")
            left = shape.ranks - found.get(site, 0)
            if not left or name in shape.avoid or _may_never(image):
                continue
            empty = new_node(image)
            ranks = ranks_on(shape, empty, left)
            found[site] = shape.ranks - left + len(ranks)
            for devices in ranks:
                yield empty, devices


def _not_elsewhere(shape: Shape, nodes: dict[str, Node]) -> list[str]:
    """Nodes on which nobody should wait; that of one with a sick device, too, may never be well."""
    gone = [n for n, node in nodes.items() if _may_never(node.image) or node.image.unhealthy]
    return [*shape.avoid, *gone]


def _may_never(image: NodeImaged) -> bool:
    """Whether the node may never take work again."""
    return image.liveness == "lost" or image.cordoned or image.draining
