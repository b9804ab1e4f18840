"""What does every decision and every change cost, as loops that numba turns into machine code?

Entry points that Python calls, a few times per decision. The same integers as `vectors.py`. It does
not know what a score is made of.
"""

from __future__ import annotations

from penstock_scheduler.core.packing.compiled import compiled_in_place
from penstock_scheduler.core.packing.layout import (
    CHANGED,
    COUNT,
    CPU,
    FILL,
    FIXED,
    FREE,
    GROUP_GPUS,
    GROUP_KINDS,
    GROUP_MILLI,
    INFEASIBLE,
    KIND,
    LOSS,
    MEMORY,
    MILLI,
    NO_DEVICE,
    ORDER,
    SLOTS,
    SUM,
    TOTAL,
    UNITS,
    USABLE,
    WHOLE,
    Array,
)
from penstock_scheduler.core.packing.scoring import score, step_of

SCORING = "9f2a64575c37"
"""Digest of the file whose functions are compiled in; a test compares."""


@compiled_in_place
def refresh_all(
    count: int,
    nodes: Array,
    devices: Array,
    counts: Array,
    groups: Array,
    steps: Array,
    cumulated: Array,
    phi: Array,
    thresholds: Array,
    params: Array,
    kinds: Array,
    scores: Array,
) -> None:
    """Scores every node for the row."""
    for n in range(count):
        score(
            n,
            nodes,
            devices,
            counts,
            groups,
            steps,
            cumulated,
            phi,
            thresholds,
            params,
            kinds,
            scores,
        )


@compiled_in_place
def refresh_changed(
    since: int,
    version: int,
    history: Array,
    nodes: Array,
    devices: Array,
    counts: Array,
    groups: Array,
    steps: Array,
    cumulated: Array,
    phi: Array,
    thresholds: Array,
    params: Array,
    kinds: Array,
    scores: Array,
) -> None:
    """Scores the nodes that changed from version `since` on, each once."""
    for change in range(since, version):
        n = history[change % history.shape[0]]
        if nodes[CHANGED, n] == change:
            score(
                n,
                nodes,
                devices,
                counts,
                groups,
                steps,
                cumulated,
                phi,
                thresholds,
                params,
                kinds,
                scores,
            )


@compiled_in_place
def pick(
    count: int,
    memory_mib: int,
    units: int,
    weight: int,
    closed: Array,
    nodes: Array,
    scores: Array,
) -> int:
    """The node with the highest score that has memory and units and is not closed to the shape; of
    equals the first by name; -1 = none. `weight`: of the loss, in thousandths."""
    best = 0
    found = -1
    for n in range(count):
        fixed = scores[FIXED, n]
        if fixed == INFEASIBLE:
            continue
        value = fixed - weight * scores[LOSS, n] // MILLI
        if found >= 0 and (
            value < best or (value == best and nodes[ORDER, n] > nodes[ORDER, found])
        ):
            continue
        if nodes[MEMORY, n] < memory_mib or nodes[UNITS, n] < units:
            continue
        if not (closed.shape[0] and closed[n]):
            best, found = value, n
    return found


@compiled_in_place
def charge(
    n: int,
    cpu_milli: int,
    memory_mib: int,
    units: int,
    gpu_milli: int,
    taken: Array,
    nodes: Array,
    devices: Array,
    counts: Array,
    groups: Array,
    steps: Array,
    cumulated: Array,
) -> None:
    """Takes sizes off a node and the devices in `taken`; negative ones give back."""
    nodes[CPU, n] -= cpu_milli
    nodes[MEMORY, n] -= memory_mib
    nodes[UNITS, n] -= units
    for i in range(taken.shape[0]):
        devices[FREE, n, taken[i]] -= gpu_milli
    summarize(n, nodes, devices, counts, groups, steps, cumulated)


@compiled_in_place
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
    total = usable = whole = 0
    for d in range(nodes[SLOTS, n]):
        if devices[KIND, n, d] != NO_DEVICE:
            total += devices[FREE, n, d]
            whole += devices[FREE, n, d] == MILLI
            usable += 1
    nodes[TOTAL, n], nodes[USABLE, n], nodes[WHOLE, n] = total, usable, whole
    step = step_of(nodes[CPU, n], steps)
    fill = 0
    for g in range(groups.shape[1]):
        count = room = 0
        for d in range(nodes[SLOTS, n]):
            kind, free = devices[KIND, n, d], devices[FREE, n, d]
            if (
                kind != NO_DEVICE
                and free >= groups[GROUP_MILLI, g]
                and groups[GROUP_KINDS + kind, g]
            ):
                count += 1
                room += free
        counts[COUNT, n, g], counts[SUM, n, g] = count, room
        if count >= groups[GROUP_GPUS, g]:
            fill += cumulated[step, g] * room
    nodes[FILL, n] = fill
