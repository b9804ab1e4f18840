"""Where does a job fit?

A tight fit: the node that is left with least free, then the device with least free, then the
smaller name or index. Feasible and score are separate steps; nothing here changes state. It does
not know who is next.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_contracts.journal import NodeImaged, RankPlacement
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


def tightness(shape: Shape, node: Node) -> tuple[int, int, str]:
    """Smaller is tighter: free milli-GPU (of any model), then free CPU, then name."""
    return (sum(node.free), node.cpu_free, node.image.node)


def place(shape: Shape, nodes: dict[str, Node]) -> tuple[RankPlacement, ...] | None:
    """Places every rank of a job of this shape, or none.

    Ranks are kept together: while one node can hold all that are left, the tightest such node
    takes them; else the node that holds most takes what it can.
    """
    candidates = [n for n in nodes.values() if n.schedulable and n.image.node not in shape.avoid]
    if shape.ranks == 1:
        return _place_single(shape, candidates)
    fits = [
        _Fit(ranks, tightness(shape, node), node)
        for node in candidates
        if (ranks := ranks_on(shape, node, shape.ranks))
    ]
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
    tightness: tuple[int, int, str]
    node: Node


def _tightness_of(fit: _Fit) -> tuple[int, int, str]:
    return fit.tightness


def _placements(fit: _Fit, first: int, ranks_max: int) -> list[RankPlacement]:
    return [
        _placement(first + local, fit.node, devices, local)
        for local, devices in enumerate(fit.ranks[:ranks_max])
    ]


def _place_single(shape: Shape, candidates: list[Node]) -> tuple[RankPlacement, ...] | None:
    best: tuple[tuple[int, int, str], Node, list[int]] | None = None
    need = shape.gpus * shape.gpu_milli
    for node in candidates:
        if node.cpu_free < shape.cpu_milli or node.memory_free < shape.memory_mib:
            continue
        score = tightness(shape, node)
        if score[0] < need or (best is not None and score >= best[0]):
            continue
        usable = usable_devices(shape, node.image) if shape.gpus else []
        devices = devices_for_rank(shape, usable, node.free)
        if devices is not None:
            best = (score, node, devices)
    return None if best is None else (_placement(0, best[1], best[2], 0),)


def _placement(rank: int, node: Node, devices: list[int], local_rank: int) -> RankPlacement:
    uuids = tuple(node.image.devices[index][0] for index in devices)
    return RankPlacement(rank, node.image.node, uuids, local_rank)


def fits_when_empty(shape: Shape, images: Iterable[NodeImaged]) -> bool:
    """Whether a job of this shape could ever run: it fits all registered nodes together, when
    empty, whether these are alive, lost, cordoned or draining.
    """
    left = shape.ranks
    for image in images:
        healthy = image if not image.unhealthy else _as_healthy(image)
        left -= len(ranks_on(shape, new_node(healthy), left))
        if left <= 0:
            return True
    return False


def _as_healthy(image: NodeImaged) -> NodeImaged:
    return NodeImaged(
        node=image.node,
        boot_id=image.boot_id,
        cpu_milli=image.cpu_milli,
        memory_mib=image.memory_mib,
        devices=image.devices,
    )
