"""Which shapes are expected, and what follows from that for every placement?

A workload is plain data: shapes with counts, as a list states them or as they were learned. From
it come the typical shapes, the worth of holes and the prices of models. It does not know nodes,
except for the device kinds that shapes may use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from penstock_contracts.nodes import is_instance
from penstock_scheduler.core.packing.cutting import hole_values
from penstock_scheduler.core.packing.layout import (
    GROUP_GPUS,
    GROUP_KINDS,
    GROUP_MILLI,
    MILLI,
    WEIGHT_SUM,
    Profile,
)
from penstock_scheduler.core.packing.policies import sigmoid_thresholds
from penstock_scheduler.core.packing.shapes import PackShape, RowKey, row_key

COVERED_PERCENT = 95
TYPICAL_MAX = 256
"""So many shapes at most count as typical; a decision's cost grows with them."""

CPU_MILLI_PER_GPU = 10_000
"""Where nothing is known yet."""

COUNTS_MAX = 1_000
"""So many shapes, the most popular, are written down: a workload is a fact of a journal."""

DeviceKind = tuple[str, int | None]
"""(model, memory in MiB or None = unknown)."""


class Workload(NamedTuple):
    """What is expected, as facts. `counts`: how often each shape is asked for, in any unit;
    `hole_values`: worth of a hole of 0, 1, ... 1000 milli-GPU in millionths of a device;
    `prices`: scarcity of each model in thousandths; `cpu_milli_per_gpu`: what goes with a GPU."""

    counts: tuple[tuple[RowKey, int], ...]
    hole_values: tuple[int, ...]
    prices: tuple[tuple[str, int], ...]
    cpu_milli_per_gpu: int


def workload_of(counts: Mapping[RowKey, int], devices: Mapping[str, int]) -> Workload:
    """The facts of a workload on a fleet with so many devices of each model. Costs some
    milliseconds."""
    ordered = tuple(sorted(counts.items()))
    shares: Counter[int] = Counter()
    cpu = milli = 0
    for key, count in ordered:
        if key.gpus == 1 and key.gpu_milli < MILLI:
            shares[key.gpu_milli] += count
        if key.gpus:
            cpu += key.cpu_milli * count
            milli += key.gpus * key.gpu_milli * count
    most = sorted(ordered, key=lambda one: -one[1])[:COUNTS_MAX]
    return Workload(
        tuple(sorted(most)),
        tuple(hole_values(shares).tolist()),
        _prices(ordered, devices),
        cpu * MILLI // milli if milli else CPU_MILLI_PER_GPU,
    )


def _prices(
    counts: Sequence[tuple[RowKey, int]], devices: Mapping[str, int]
) -> tuple[tuple[str, int], ...]:
    """Of each model the part that those will need who accept only some models, when as much is
    asked for as there is; a shape's demand is spread over its models by their numbers."""
    total = sum(key.gpus * key.gpu_milli * count for key, count in counts)
    everything = sum(devices.values())
    needed: dict[str, float] = {}
    for key, count in counts:
        accepted = sum(devices.get(model, 0) for model in key.models)
        if accepted and accepted < everything:
            part = key.gpus * key.gpu_milli * count * everything / total
            for model in key.models:
                needed[model] = needed.get(model, 0.0) + part / accepted
    return tuple((model, min(MILLI, int(MILLI * needed[model]))) for model in sorted(needed))


def count_shapes(shapes: Iterable[PackShape]) -> Counter[RowKey]:
    """How often each shape stands in a list."""
    return Counter(map(row_key, shapes))


def typical(counts: Sequence[tuple[RowKey, int]], step: int = 1) -> list[tuple[RowKey, int]]:
    """The most popular shapes that make up 95 %, rounded up to a multiple of `step` shapes, their
    counts scaled to WEIGHT_SUM in all. Of equally popular ones the larger count (FGD's order: CPU,
    share, devices, model)."""
    ordered = sorted(
        counts,
        key=lambda one: (one[1], one[0].cpu_milli, one[0].gpu_milli, one[0].gpus, one[0].models),
        reverse=True,
    )
    total = sum(count for _, count in ordered)
    chosen: list[tuple[RowKey, int]] = []
    covered = 0
    for key, count in ordered[:TYPICAL_MAX]:
        if len(chosen) % step == 0 and covered * 100 >= total * COVERED_PERCENT:
            break
        chosen.append((key, count))
        covered += count
    return [(key, count * WEIGHT_SUM // covered) for key, count in chosen]


def may_use(key: RowKey, kind: DeviceKind) -> bool:
    """Whether a rank of the shape may run on such a device; unknown memory is never enough. An
    instance of a GPU is only for whom names it, and wants one device."""
    model, memory_mib = kind
    if model not in key.models and (key.models or is_instance(model)):
        return False
    if key.gpus > 1 and is_instance(model):
        return False
    return not key.device_memory_mib or (
        memory_mib is not None and memory_mib >= key.device_memory_mib
    )


def profile_of(workload: Workload, kinds: Sequence[DeviceKind], step: int = 1) -> Profile:
    """The arrays for a fleet with these kinds of devices. `step`: as in `typical`."""
    chosen = [(key, weight) for key, weight in typical(workload.counts, step) if key.gpus]
    steps = sorted({key.cpu_milli for key, _ in chosen})
    asks = sorted({(k.gpus, k.gpu_milli, k.models, k.device_memory_mib) for k, _ in chosen})
    column = {ask: g for g, ask in enumerate(asks)}
    groups = np.zeros((GROUP_KINDS + max(1, len(kinds)), len(asks)), np.int64)
    weights = np.zeros((len(steps) + 1, len(asks)), np.int64)
    for key, weight in chosen:
        g = column[key.gpus, key.gpu_milli, key.models, key.device_memory_mib]
        groups[GROUP_GPUS, g], groups[GROUP_MILLI, g] = key.gpus, key.gpu_milli
        for i, kind in enumerate(kinds):
            groups[GROUP_KINDS + i, g] = may_use(key, kind)
        weights[steps.index(key.cpu_milli) + 1, g] += weight
    return Profile(
        groups,
        np.array(steps, np.int64),
        np.cumsum(weights, axis=0),
        np.array(workload.hole_values, np.int64),
        sigmoid_thresholds(),
    )


EMPTY = workload_of({}, {})
