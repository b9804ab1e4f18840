"""Where does a job fit?

A single rank goes where the packer scores best. Ranks of a gang are kept together: on the tightest
node that holds all that are left, else on the node that holds most. Nothing here changes state. It
does not know who is next.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_contracts.journal import NodeImaged, RankPlacement
from penstock_scheduler.core.capacity import Alike, Capacity, Tightness, pack_shape
from penstock_scheduler.core.packing.packer import NOBODY
from penstock_scheduler.core.state import Node, Shape, new_node


class Placed(NamedTuple):
    """Where the ranks of a job go, and as which of its alternatives; 0 = what it asks itself."""

    alternative: int
    ranks: tuple[RankPlacement, ...]


def usable_devices(shape: Shape, image: NodeImaged) -> list[int]:
    """Indices of the devices of a node on which a job of this shape may run at all."""
    return [
        index
        for index, (uuid, model, memory_mib) in enumerate(image.devices)
        if (not shape.gpu_models or model in shape.gpu_models)
        and uuid not in image.unhealthy
        and _has_memory(shape, memory_mib)
    ]


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


def place(shape: Shape, nodes: dict[str, Node], capacity: Capacity) -> Placed | None:
    """Places every rank of a job of this shape, or none. `capacity` is of `nodes`. Of several
    alternatives the first that fits now is taken.

    Nodes that have refused it are asked again only when the others could never hold it: a job
    waits for room, not for a node that there is not.
    """
    placed = _place_any(shape, nodes, capacity)
    if placed is None and shape.avoid:
        placed = _place_any(without_refusals(shape), nodes, capacity)
        if placed is not None and fits_elsewhere(shape, nodes, capacity):
            return None
    return placed


def _place_any(shape: Shape, nodes: dict[str, Node], capacity: Capacity) -> Placed | None:
    for alternative, option in enumerate((shape, *shape.alternatives)):
        ranks = _place(option, nodes, capacity)
        if ranks is not None:
            return Placed(alternative, ranks)
    return None


def without_refusals(shape: Shape) -> Shape:
    """The shape, as if no node had refused it."""
    alternatives = tuple(map(without_refusals, shape.alternatives))
    return msgspec.structs.replace(shape, avoid=(), alternatives=alternatives)


def _place(
    shape: Shape, nodes: dict[str, Node], capacity: Capacity
) -> tuple[RankPlacement, ...] | None:
    """Ranks are kept together: while one node can hold all that are left, the tightest such node
    takes them; else the node that holds most takes what it can.
    """
    if shape.ranks == 1:
        return _place_single(shape, nodes, capacity)
    fits = _fits(shape, nodes, capacity)
    fits.sort(key=lambda fit: (-len(fit.ranks), fit.tightness))
    placements: list[RankPlacement] = []
    for index, most in enumerate(fits):
        left = shape.ranks - len(placements)
        if len(most.ranks) >= left:
            able = [fit for fit in fits[index:] if len(fit.ranks) >= left]
            placements += _placements(min(able, key=_tightness_of), len(placements), left)
            return tuple(placements)
        placements += _placements(most, len(placements), left)
    return None


class _Fit(NamedTuple):
    """What one node can hold of a gang: the devices of each rank."""

    ranks: list[list[int]]
    tightness: Tightness
    node: Node


def _fits(shape: Shape, nodes: dict[str, Node], capacity: Capacity) -> list[_Fit]:
    """Every node on which some rank fits. Nodes of one kind with the same room hold the same."""
    found = []
    for alike in capacity.kinds():
        seen: dict[tuple[object, ...], list[list[int]]] = {}
        for score in alike.tightest(shape.gpus * shape.gpu_milli):
            node = nodes[score[2]]
            if score[2] in shape.avoid:
                continue
            room = (
                node.image.unhealthy,
                *node.free,
                node.cpu_free,
                node.memory_free,
                node.order_units_free,
            )
            ranks = seen.get(room)
            if ranks is None:
                ranks = seen[room] = ranks_on(shape, node, shape.ranks)
            if ranks:
                found.append(_Fit(ranks, score, node))
    return found


def _tightness_of(fit: _Fit) -> Tightness:
    return fit.tightness


def _placements(fit: _Fit, first: int, ranks_max: int) -> list[RankPlacement]:
    return [
        _placement(first + local, fit.node, devices, local)
        for local, devices in enumerate(fit.ranks[:ranks_max])
    ]


def _place_single(
    shape: Shape, nodes: dict[str, Node], capacity: Capacity
) -> tuple[RankPlacement, ...] | None:
    packer = capacity.packer
    closed = packer.mask(shape.avoid) if shape.avoid else NOBODY
    choice = packer.choose(pack_shape(shape), closed)
    if choice is None:
        return None
    return (_placement(0, nodes[choice.node], choice.devices, 0),)


def _placement(rank: int, node: Node, devices: Iterable[int], local_rank: int) -> RankPlacement:
    uuids = tuple(node.image.devices[index][0] for index in devices)
    return RankPlacement(rank, node.image.node, uuids, local_rank)


def fits_when_empty(shape: Shape, kinds: Iterable[Alike]) -> bool:
    """Whether a job of this shape could ever run: it fits all registered nodes together, when
    empty, whether these are alive, lost, cordoned or draining.
    """
    return any(_all_hold(option, kinds) for option in (shape, *shape.alternatives))


def _all_hold(shape: Shape, kinds: Iterable[Alike]) -> bool:
    left = shape.ranks
    for alike in kinds:
        able = alike.count
        if shape.node_labels:
            able = sum(has_labels(shape, image) for image in alike.images.values())
        if able:
            left -= len(ranks_on(shape, new_node(alike.image), left)) * able
        if left <= 0:
            return True
    return False


def has_labels(shape: Shape, image: NodeImaged) -> bool:
    """Whether the node is one of those that the shape asks for by label."""
    return all(image.labels.get(key) == value for key, value in shape.node_labels)


def fits_elsewhere(shape: Shape, nodes: dict[str, Node], capacity: Capacity) -> bool:
    """Whether a job of this shape could run, once they are empty, on nodes that have not refused
    it and take work, if only after a rest. One that is lost, cordoned or draining may never again.
    """
    options = (shape, *shape.alternatives)
    return any(_others_hold(option, nodes, capacity) for option in options)


def _others_hold(shape: Shape, nodes: dict[str, Node], capacity: Capacity) -> bool:
    left = shape.ranks
    for alike in capacity.kinds():
        if not ranks_on(shape, new_node(alike.image), 1):
            continue
        for name, image in alike.images.items():
            if name in shape.avoid or image.liveness == "lost" or image.cordoned or image.draining:
                continue
            if has_labels(shape, image):
                left -= len(ranks_on(shape, new_node(image), left))
            if left <= 0:
                return True
    return False
