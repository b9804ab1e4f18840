"""Where does a job fit?

A tight fit: the node that is left with least free, then the device with least free, then the
smaller name or index. Feasible and score are separate steps; nothing here changes state. It does
not know who is next.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_contracts.journal import NodeImaged, RankPlacement
from penstock_scheduler.core.capacity import Alike, Capacity, Tightness
from penstock_scheduler.core.state import Node, Shape, new_node


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


def place(
    shape: Shape, nodes: dict[str, Node], capacity: Capacity
) -> tuple[RankPlacement, ...] | None:
    """Places every rank of a job of this shape, or none. `capacity` is the index of `nodes`.

    Nodes that have refused it are asked again only when the others could never hold it: a job
    waits for room, not for a node that there is not.
    """
    ranks = _place(shape, nodes, capacity)
    if ranks is None and shape.avoid:
        ranks = _place(msgspec.structs.replace(shape, avoid=()), nodes, capacity)
        if ranks is not None and fits_elsewhere(shape, nodes, capacity):
            return None
    return ranks


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
    best: tuple[Tightness, Node, list[int]] | None = None
    for alike in capacity.kinds():
        if len(usable_devices(shape, alike.image)) < shape.gpus:
            continue
        for score in alike.tightest(shape.gpus * shape.gpu_milli):
            if best is not None and score >= best[0]:
                break
            node = nodes[score[2]]
            if node.cpu_free < shape.cpu_milli or node.memory_free < shape.memory_mib:
                continue
            if node.order_units_free < shape.order_units:
                continue
            if score[2] in shape.avoid:
                continue
            usable = usable_devices(shape, node.image) if shape.gpus else []
            devices = devices_for_rank(shape, usable, node.free)
            if devices is not None:
                best = (score, node, devices)
                break
    return None if best is None else (_placement(0, best[1], best[2], 0),)


def _placement(rank: int, node: Node, devices: list[int], local_rank: int) -> RankPlacement:
    uuids = tuple(node.image.devices[index][0] for index in devices)
    return RankPlacement(rank, node.image.node, uuids, local_rank)


def fits_when_empty(shape: Shape, kinds: Iterable[Alike]) -> bool:
    """Whether a job of this shape could ever run: it fits all registered nodes together, when
    empty, whether these are alive, lost, cordoned or draining.
    """
    left = shape.ranks
    for alike in kinds:
        left -= len(ranks_on(shape, new_node(alike.image), left)) * alike.count
        if left <= 0:
            return True
    return False


def fits_elsewhere(shape: Shape, nodes: dict[str, Node], capacity: Capacity) -> bool:
    """Whether a job of this shape could run, once they are empty, on nodes that have not refused
    it and take work, if only after a rest. One that is lost, cordoned or draining may never again.
    """
    left = shape.ranks
    for alike in capacity.kinds():
        if not ranks_on(shape, new_node(alike.image), 1):
            continue
        for name in alike.names:
            image = nodes[name].image
            if name in shape.avoid or image.liveness == "lost" or image.cordoned or image.draining:
                continue
            left -= len(ranks_on(shape, new_node(image), left))
            if left <= 0:
                return True
    return False
