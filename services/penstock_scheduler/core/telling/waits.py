"""What is in the way of a job that waits, and what would do?

Counted node by node for what it asks first and for each of its alternatives, and said in words. It
does not know when that will change, nor who is ahead in line.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock_contracts.asks import LINK
from penstock_contracts.explanations import Obstacles, Shortfall
from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.packing.obstacles import Nearest, obstacles
from penstock_scheduler.core.placing.capacity import pack_shape
from penstock_scheduler.core.placing.domains import ANYWHERE, Search, most_ranks
from penstock_scheduler.core.placing.gangs import is_gang
from penstock_scheduler.core.placing.placement import closed_to
from penstock_scheduler.core.state import Shape


def needs_of(shape: Shape) -> str:
    """What a shape asks for, in words: `4 ranks x 2 GPU(s) of H100 (all in one rack)`."""
    if shape.gpus == 0:
        each = f"{shape.cpu_milli} milli-CPU"
    elif shape.gpu_milli < GPU_MILLI_WHOLE:
        each = f"{shape.gpu_milli}/1000 of a GPU"
    else:
        each = f"{shape.gpus} GPU(s)"
    if shape.gpu_models and shape.gpus:
        each += f" of {' or '.join(shape.gpu_models)}"
    if shape.gpu_memory_mib and shape.gpus:
        each += f" with {shape.gpu_memory_mib} MiB"
    if shape.ranks > 1:
        each = f"{shape.ranks} ranks x {each}"
    demands = _demands(shape)
    return f"{each} ({', '.join(demands)})" if demands else each


def _demands(shape: Shape) -> list[str]:
    said = []
    if shape.near_required:
        said.append(f"all in one {'link domain' if shape.near == LINK else shape.near}")
    if shape.spread:
        said.append(f"at most {shape.spread_ranks} rank(s) in one {shape.spread}")
    said += [f"on nodes with {key}={value}" for key, value in shape.node_labels]
    said += [f"on nodes that offer {word}" for word in shape.needs]
    if shape.apart:
        said.append(f"apart from other {shape.apart.partition('/')[2]!r}")
    return said


def obstacles_of(shape: Shape, state: State) -> tuple[Obstacles, ...]:
    """Those of what is asked first, then of each alternative. `shape.avoid`: nodes left out."""
    return tuple(_obstacles(option, state) for option in (shape, *shape.alternatives))


def _obstacles(shape: Shape, state: State) -> Obstacles:
    packer, topology = state.capacity.packer, state.capacity.topology
    pack = pack_shape(shape)
    closed = closed_to(shape, state.nodes, state.capacity)
    found = obstacles(packer, pack, closed)
    counts, nearest = found.counts, found.nearest
    ranks_fit = None
    if counts.able and not is_gang(shape):
        nearest = None
    if is_gang(shape):
        level = shape.near if shape.near_required else ANYWHERE
        search = Search(shape, pack, packer.fleet, topology.layout(packer.fleet), closed)
        ranks_fit = most_ranks(search, level)
    return Obstacles(
        needed=needs_of(shape),
        nodes=sum(counts),
        closed=counts.closed,
        left_out=counts.left_out,
        devices=counts.devices,
        busy=counts.busy,
        cpu=counts.cpu,
        memory=counts.memory,
        orders=counts.units,
        able=counts.able,
        nodes_open=found.free.nodes,
        devices_usable=found.free.usable,
        devices_free=found.free.free,
        devices_free_most=found.free.most,
        cpu_milli_free=found.free.cpu_milli,
        ranks_fit=ranks_fit,
        nearest=None if nearest is None else _shortfall(nearest, pack.shares),
    )


def _shortfall(nearest: Nearest, shares: bool) -> Shortfall:
    return Shortfall(
        node=nearest.node,
        nodes=nearest.nodes,
        devices=nearest.devices,
        cpu_milli=nearest.cpu_milli,
        memory_mib=nearest.memory_mib,
        orders=nearest.units,
        milli_free=nearest.most_free if shares else None,
    )


def free_in_words(shape: Shape, found: Obstacles) -> str:
    """What is free of what the shape could use, in words."""
    if shape.gpus == 0:
        return f"{found.cpu_milli_free} milli-CPU free on {found.nodes_open} node(s)"
    return (
        f"{found.devices_free} of {found.devices_usable} usable GPU(s) free, "
        f"at most {found.devices_free_most} on one node"
    )


def would_do(shape: Shape, options: Sequence[Obstacles]) -> str:
    """What it would take, in words; of several choices the first that lacks least devices."""
    found = [
        (one.nearest, option)
        for one, option in zip(options, (shape, *shape.alternatives), strict=True)
        if one.nearest is not None
    ]
    if not found:
        return "" if any(one.able for one in options) else "no node it may use now has such devices"
    nearest, option = min(found, key=lambda one: one[0].devices)
    lacks = _lacks(nearest, option)
    others = nearest.nodes - 1 if nearest.devices else 0
    as_on = f", as on {others} other(s)" if others else ""
    what = "one more rank would fit with" if shape.ranks > 1 else "would do:"
    return f"{what} {' and '.join(lacks)} on {nearest.node}{as_on}"


def _lacks(nearest: Shortfall, shape: Shape) -> list[str]:
    lacks = []
    if nearest.milli_free is not None and nearest.devices:
        lacks.append(f"{shape.gpu_milli - nearest.milli_free}/1000 of a GPU more free")
    elif nearest.devices:
        lacks.append(f"{nearest.devices} more GPU(s) free")
    if nearest.cpu_milli:
        lacks.append(f"{nearest.cpu_milli} more milli-CPU")
    if nearest.memory_mib:
        lacks.append(f"{nearest.memory_mib} more MiB of memory")
    if nearest.orders:
        lacks.append("fewer leases")
    return lacks
