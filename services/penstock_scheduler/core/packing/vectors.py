"""What does every decision cost, without numba?

The same functions as `loops.py` and `scoring.py`, the same integers, computed for many nodes at
once by numpy. It does not know when it is used.
"""

from __future__ import annotations

import numpy as np

from penstock_scheduler.core.packing.layout import (
    ALLOWED,
    BEST_FIT,
    CHANGED,
    COUNT,
    CPU,
    CPU_UNIT_MILLI,
    DEVICE,
    FGD,
    FILL,
    FIXED,
    FREE,
    GPU_PACKING,
    GROUP_GPUS,
    GROUP_KINDS,
    GROUP_MILLI,
    INFEASIBLE,
    KIND,
    LOSS,
    MEMORY,
    MILLI,
    NO_DEVICE,
    OPEN,
    ORDER,
    P_CPU,
    P_FRAGMENT,
    P_GPUS,
    P_MILLI,
    P_POLICY,
    P_PRICE,
    P_RATIO,
    P_REFERENCE,
    P_SPARE,
    P_STRANDED,
    P_TIGHT,
    PENSTOCK,
    PRICE,
    SUM,
    TOTAL,
    UNITS,
    USABLE,
    WEIGHT_SUM,
    WEIGHT_SUM_BITS,
    WHOLE,
    Array,
    Profile,
    Room,
    Row,
)

CELLS_AT_ONCE = 65_536
NODES_AT_ONCE = 1024
"""Nodes, and nodes times devices squared: bounds what the intermediate arrays take."""
LEAST = np.int64(np.iinfo(np.int64).min)


def refresh_all(count: int, *arrays: Array) -> None:
    """Scores every node for the row."""
    room, profile, row = Room(*arrays[:3]), Profile(*arrays[3:8]), Row(*arrays[8:])
    most = _nodes_at_once(room)
    for first in range(0, count, most):
        _score(np.arange(first, min(count, first + most)), room, profile, row)


def refresh_changed(since: int, version: int, history: Array, *arrays: Array) -> None:
    """Scores the nodes that changed from version `since` on, each once."""
    room, profile, row = Room(*arrays[:3]), Profile(*arrays[3:8]), Row(*arrays[8:])
    changes = np.arange(since, version)
    columns = history[changes % history.shape[0]]
    last = columns[room.nodes[CHANGED, columns] == changes]
    most = _nodes_at_once(room)
    for first in range(0, last.shape[0], most):
        _score(last[first : first + most], room, profile, row)


def _nodes_at_once(room: Room) -> int:
    devices = int(room.devices.shape[2])
    return max(1, min(NODES_AT_ONCE, CELLS_AT_ONCE // devices**2))


def pick(
    count: int,
    memory_mib: int,
    units: int,
    weight: int,
    closed: Array,
    nodes: Array,
    scores: Array,
) -> int:
    """The best node; see `loops.pick`."""
    columns = fitting(count, memory_mib, units, closed, nodes, scores)
    if not columns.shape[0]:
        return -1
    values = scores[FIXED, columns] - weight * scores[LOSS, columns] // MILLI
    best = columns[values == values.max()]
    return int(best[np.argmin(nodes[ORDER, best])])


def fitting(
    count: int, memory_mib: int, units: int, closed: Array, nodes: Array, scores: Array
) -> Array:
    """The nodes on which the rank fits now."""
    fits = scores[FIXED, :count] != INFEASIBLE
    fits &= (nodes[MEMORY, :count] >= memory_mib) & (nodes[UNITS, :count] >= units)
    if closed.shape[0]:
        fits &= ~closed[:count]
    return np.flatnonzero(fits)


def charge(
    n: int,
    cpu_milli: int,
    memory_mib: int,
    units: int,
    gpu_milli: int,
    taken: Array,
    *arrays: Array,
) -> None:
    """Takes sizes off a node and the devices in `taken`; negative ones give back."""
    nodes, devices = arrays[0], arrays[1]
    nodes[CPU, n] -= cpu_milli
    nodes[MEMORY, n] -= memory_mib
    nodes[UNITS, n] -= units
    devices[FREE, n, taken] -= gpu_milli
    summarize(n, *arrays)


def summarize(
    n: int,
    nodes: Array,
    devices: Array,
    counts: Array,
    groups: Array,
    steps: Array,
    cumulated: Array,
) -> None:
    """Writes everything about node `n` that follows from its free CPU and devices."""
    usable = devices[KIND, n] != NO_DEVICE
    free, kinds = devices[FREE, n, usable], devices[KIND, n, usable]
    nodes[TOTAL, n], nodes[USABLE, n] = free.sum(), usable.sum()
    nodes[WHOLE, n] = (free == MILLI).sum()
    enough = (free[:, None] >= groups[GROUP_MILLI]) & (groups[GROUP_KINDS + kinds] != 0)
    counts[COUNT, n] = enough.sum(axis=0)
    counts[SUM, n] = (enough * free[:, None]).sum(axis=0)
    step = np.searchsorted(steps, nodes[CPU, n], side="right")
    fits = counts[COUNT, n] >= groups[GROUP_GPUS]
    nodes[FILL, n] = (fits * cumulated[step] * counts[SUM, n]).sum()


def whole_devices(n: int, gpus: int, nodes: Array, devices: Array, kinds: Array) -> int:
    """The end of the first wholly free devices that may be used; see `scoring.whole_devices`."""
    chosen = np.flatnonzero(_able(np.array([n]), MILLI, devices, kinds)[0])[:gpus]
    return int(chosen[-1]) + 1 if chosen.shape[0] == gpus else 0


def _able(which: Array, milli: int, devices: Array, kinds: Array) -> Array:
    """Devices with so much free that may be used [node, device]."""
    kind = devices[KIND, which]
    able: Array = (
        (kind != NO_DEVICE) & (devices[FREE, which] >= milli) & (kinds[ALLOWED, kind] != 0)
    )
    return able


def _score(which: Array, room: Room, profile: Profile, row: Row) -> None:
    """Writes the scores of these nodes into the row."""
    params, scores = row.params, row.scores
    scores[FIXED, which] = INFEASIBLE
    scores[LOSS, which] = 0
    scores[DEVICE, which] = NO_DEVICE
    nodes = room.nodes
    which = which[(nodes[CPU, which] >= params[P_CPU]) & (nodes[OPEN, which] != 0)]
    gpus, milli = int(params[P_GPUS]), int(params[P_MILLI])
    if not gpus:
        taken = np.zeros((which.shape[0], 1, room.devices.shape[2]), np.bool_)
        scores[FIXED, which] = _values(which, taken, room, profile, row)[:, 0]
        return
    able = _able(which, milli, room.devices, row.kinds)
    fits = able.sum(axis=1) >= gpus
    which, able = which[fits], able[fits]
    if milli < MILLI:
        _score_shares(which, able, room, profile, row)
        return
    taken = (able & (np.cumsum(able, axis=1) <= gpus))[:, None, :]
    scores[FIXED, which] = _values(which, taken, room, profile, row)[:, 0]


def _score_shares(which: Array, able: Array, room: Room, profile: Profile, row: Row) -> None:
    """The best device for a share; of equals the first."""
    params, scores = row.params, row.scores
    milli = int(params[P_MILLI])
    free = room.devices[FREE, which]
    each = np.eye(able.shape[1], dtype=np.bool_)[None, :, :]
    values = _values(which, np.repeat(each, which.shape[0], axis=0), room, profile, row)
    loss = np.zeros_like(values)
    if params[P_POLICY] == PENSTOCK:
        phi, left = profile.phi, np.maximum(free - milli, 0)
        loss = phi[free] - phi[left] - phi[milli]
        rank = values - params[P_REFERENCE] * loss // MILLI
    else:
        rank = values if params[P_POLICY] == FGD else -free
    best = np.argmax(np.where(able, rank, LEAST), axis=1)
    at = np.arange(which.shape[0])
    scores[FIXED, which] = values[at, best]
    scores[LOSS, which] = loss[at, best]
    scores[DEVICE, which] = best


def _values(which: Array, taken: Array, room: Room, profile: Profile, row: Row) -> Array:
    """The part of a score that stays while the node does [node, option]. `taken`: the devices of
    each option [node, option, device]."""
    params, nodes = row.params, room.nodes[:, which]
    options = taken.shape[1]
    asked = params[P_GPUS] * params[P_MILLI]
    policy = params[P_POLICY]
    if policy in (PENSTOCK, FGD):
        growth = nodes[FILL][:, None] - _fill(which, taken, room, profile, params)
        growth -= asked * WEIGHT_SUM
        if policy == FGD:
            score: Array = np.searchsorted(profile.thresholds, -growth, side="right")
            return score
        return _default_values(which, growth, taken, room, row)
    value = np.zeros(which.shape[0], np.int64)
    if policy == BEST_FIT:
        left = nodes[CPU] - params[P_CPU] + 16 * (nodes[TOTAL] - asked)
        value = (25_600_000 - 100 * left) // 256_000
    elif policy == GPU_PACKING and params[P_GPUS]:
        free = np.max(np.where(taken, room.devices[FREE, which][:, None, :], 0), axis=2)
        used = np.maximum(100 - free * 100 // MILLI // 10, 50)
        used = np.where(free == MILLI, max(50 - int(params[P_GPUS]), 33), used)
        untouched = np.maximum(33 - nodes[WHOLE], nodes[WHOLE])[:, None]
        return np.where((nodes[WHOLE] == nodes[USABLE])[:, None], untouched, used)
    return np.repeat(value[:, None], options, axis=1)


def _fill(which: Array, taken: Array, room: Room, profile: Profile, params: Array) -> Array:
    """FILL of each node after each option."""
    groups = profile.groups
    kind = room.devices[KIND, which]
    free = room.devices[FREE, which][:, :, None]
    least = groups[GROUP_MILLI]
    had = (free >= least) & (groups[GROUP_KINDS + np.maximum(kind, 0)] != 0)
    had &= (kind != NO_DEVICE)[:, :, None]
    keeps = free - params[P_MILLI] >= least
    lost_count = (had & ~keeps).astype(np.int64)
    lost_sum = np.where(had, np.where(keeps, params[P_MILLI], free), 0)
    taking = taken.astype(np.int64)
    count = room.counts[COUNT, which][:, None, :] - taking @ lost_count
    usable = room.counts[SUM, which][:, None, :] - taking @ lost_sum
    step = np.searchsorted(profile.steps, room.nodes[CPU, which] - params[P_CPU], side="right")
    weights = profile.cumulated[step][:, None, :]
    fill: Array = (np.where(count >= groups[GROUP_GPUS], usable, 0) * weights).sum(axis=2)
    return fill


def _default_values(which: Array, growth: Array, taken: Array, room: Room, row: Row) -> Array:
    """The default policy, but for the loss against a perfect pattern; in millionths of a GPU."""
    params = row.params
    cpu, total = room.nodes[CPU, which], room.nodes[TOTAL, which]
    cpu_after = cpu - params[P_CPU]
    total_after = total - params[P_GPUS] * params[P_MILLI]
    reach = cpu * MILLI // params[P_RATIO]
    reach_after = cpu_after * MILLI // params[P_RATIO]
    stranded = np.maximum(0, total_after - reach_after) - np.maximum(0, total - reach)
    spare = np.maximum(0, reach_after - total_after) - np.maximum(0, reach - total)
    worth = row.kinds[PRICE, room.devices[KIND, which]] * params[P_MILLI]
    price = np.where(taken, worth[:, None, :], 0).sum(axis=2)
    of_node = (
        params[P_TIGHT] * cpu_after // CPU_UNIT_MILLI
        + params[P_STRANDED] * stranded
        + params[P_SPARE] * spare
    )
    values: Array = (
        -((params[P_FRAGMENT] * growth) >> WEIGHT_SUM_BITS)
        - of_node[:, None]
        - params[P_PRICE] * price // MILLI
    )
    return values
