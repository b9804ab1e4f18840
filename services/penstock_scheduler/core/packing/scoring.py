"""How good is one node for one shape, as loops that numba turns into machine code?

The same integers as `vectors.py`; docs/placement.md has the formulas. It does not know which nodes
are asked, nor which wins. Arrays are passed one by one: in tuples they cost more than the work.
"""

from __future__ import annotations

from penstock_scheduler.core.packing.compiled import compiled_in_place
from penstock_scheduler.core.packing.layout import (
    ALLOWED,
    BEST_FIT,
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
    MILLI,
    MIXED,
    NO_DEVICE,
    OPEN,
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
    SLOTS,
    SUM,
    TOTAL,
    USABLE,
    WEIGHT_SUM,
    WEIGHT_SUM_BITS,
    WHOLE,
    Array,
)

LAYOUT = "4435255de6fd"
"""Digest of the file whose numbers are compiled in; a test compares."""


@compiled_in_place
def score(
    n: int,
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
    """Writes the score of node `n`, and its best device for a share, into the row."""
    scores[FIXED, n] = INFEASIBLE
    scores[LOSS, n] = 0
    scores[DEVICE, n] = NO_DEVICE
    policy, gpus, milli = params[P_POLICY], params[P_GPUS], params[P_MILLI]
    cpu_after = nodes[CPU, n] - params[P_CPU]
    if cpu_after < 0 or not nodes[OPEN, n] or nodes[TOTAL, n] < gpus * milli:
        return
    is_share = gpus == 1 and milli < MILLI
    end = whole_devices(n, gpus, nodes, devices, kinds) if gpus and not is_share else 0
    if gpus and not is_share and not end:
        return
    base = _base(n, nodes, params)
    step = step_of(cpu_after, steps)
    before = nodes[FILL, n] - gpus * milli * WEIGHT_SUM
    if not is_share:
        growth = price = 0
        if policy <= FGD:
            price = _price(n, end, devices, kinds) * milli
            kind = _only_kind(n, end, devices, kinds)
            if kind != MIXED:
                growth = before - _fill_after(
                    n, MILLI, kind, MILLI, gpus, step, counts, groups, cumulated
                )
            else:
                growth = before - _fill_after_whole(
                    n, end, step, devices, counts, groups, cumulated, kinds
                )
        scores[FIXED, n] = _value(base, growth, price, MILLI, params, thresholds)
        return
    best = growth = loss = 0
    last_kind, last_free = NO_DEVICE, 0
    for d in range(nodes[SLOTS, n]):
        kind, free = devices[KIND, n, d], devices[FREE, n, d]
        if kind == NO_DEVICE or free < milli or not kinds[ALLOWED, kind]:
            continue
        if kind == last_kind and free == last_free:
            continue  # as good as the one before, which comes first
        last_kind, last_free = kind, free
        if policy <= FGD:
            growth = before - _fill_after(n, free, kind, milli, 1, step, counts, groups, cumulated)
        value = _value(base, growth, kinds[PRICE, kind] * milli, free, params, thresholds)
        if policy == PENSTOCK:
            loss = phi[free] - phi[free - milli] - phi[milli]
            rank = value - params[P_REFERENCE] * loss // MILLI
        else:
            rank = value if policy == FGD else -free
        if scores[DEVICE, n] == NO_DEVICE or rank > best:
            best = rank
            scores[FIXED, n], scores[LOSS, n], scores[DEVICE, n] = value, loss, d


@compiled_in_place
def whole_devices(n: int, gpus: int, nodes: Array, devices: Array, kinds: Array) -> int:
    """The first wholly free devices that may be used: those before the device returned; 0 = there
    are not enough."""
    found = 0
    for d in range(nodes[SLOTS, n]):
        if _is_whole(n, d, devices, kinds):
            found += 1
            if found == gpus:
                return d + 1
    return 0


@compiled_in_place
def _is_whole(n: int, d: int, devices: Array, kinds: Array) -> bool:
    kind = devices[KIND, n, d]
    return bool(kind != NO_DEVICE and devices[FREE, n, d] == MILLI and kinds[ALLOWED, kind] != 0)


@compiled_in_place
def _only_kind(n: int, end: int, devices: Array, kinds: Array) -> int:
    """The kind of the whole devices before `end`; NO_DEVICE without any, MIXED with several."""
    only = NO_DEVICE
    for d in range(end):
        if _is_whole(n, d, devices, kinds):
            kind = devices[KIND, n, d]
            if only != NO_DEVICE and only != kind:
                return MIXED
            only = kind
    return only


@compiled_in_place
def step_of(cpu: int, steps: Array) -> int:
    """How many of the rising CPU demands are at most this."""
    low, high = 0, steps.shape[0]
    while low < high:
        middle = (low + high) // 2
        if steps[middle] <= cpu:
            low = middle + 1
        else:
            high = middle
    return low


@compiled_in_place
def _fill_after(
    n: int,
    free: int,
    kind: int,
    taken: int,
    times: int,
    step: int,
    counts: Array,
    groups: Array,
    cumulated: Array,
) -> int:
    """FILL of a node after `times` devices of a kind with so much `free` have each lost `taken`."""
    rest = free - taken
    fill = 0
    for g in range(groups.shape[1]):
        count, usable = counts[COUNT, n, g], counts[SUM, n, g]
        least = groups[GROUP_MILLI, g]
        if times and free >= least and groups[GROUP_KINDS + kind, g]:
            if rest >= least:
                usable -= times * taken
            else:
                usable -= times * free
                count -= times
        if count >= groups[GROUP_GPUS, g]:
            fill += cumulated[step, g] * usable
    return fill


@compiled_in_place
def _fill_after_whole(
    n: int,
    end: int,
    step: int,
    devices: Array,
    counts: Array,
    groups: Array,
    cumulated: Array,
    kinds: Array,
) -> int:
    """FILL of a node after the whole devices before `end` are taken."""
    fill = 0
    for g in range(groups.shape[1]):
        count, usable = counts[COUNT, n, g], counts[SUM, n, g]
        for d in range(end):
            if _is_whole(n, d, devices, kinds) and groups[GROUP_KINDS + devices[KIND, n, d], g]:
                count -= 1
                usable -= MILLI
        if count >= groups[GROUP_GPUS, g]:
            fill += cumulated[step, g] * usable
    return fill


@compiled_in_place
def _price(n: int, end: int, devices: Array, kinds: Array) -> int:
    """The prices of the models of the whole devices before `end` together."""
    price = 0
    for d in range(end):
        if _is_whole(n, d, devices, kinds):
            price += kinds[PRICE, devices[KIND, n, d]]
    return price


@compiled_in_place
def _value(base: int, growth: int, price: int, free: int, params: Array, thresholds: Array) -> int:
    """The part of a score that stays while the node does. `free`: on the device taken from."""
    value: int = base
    if params[P_POLICY] == PENSTOCK:
        fragment = (params[P_FRAGMENT] * growth) >> WEIGHT_SUM_BITS
        value = base - fragment - params[P_PRICE] * price // MILLI
    elif params[P_POLICY] == FGD:
        value = step_of(-growth, thresholds)
    elif params[P_POLICY] == GPU_PACKING and base < 0:
        if free == MILLI:
            value = max(50 - params[P_GPUS], 33)
        else:
            value = max(100 - free * 100 // MILLI // 10, 50)
    return value


@compiled_in_place
def _base(n: int, nodes: Array, params: Array) -> int:
    """What of a score is the same for all devices of a node; in millionths of a GPU for the default
    policy. For GPU packing -1 where it is not."""
    policy, gpus = params[P_POLICY], params[P_GPUS]
    cpu, total = nodes[CPU, n], nodes[TOTAL, n]
    cpu_after, total_after = cpu - params[P_CPU], total - gpus * params[P_MILLI]
    base: int = 0
    if policy == PENSTOCK:
        reach, reach_after = cpu * MILLI // params[P_RATIO], cpu_after * MILLI // params[P_RATIO]
        stranded = max(0, total_after - reach_after) - max(0, total - reach)
        spare = max(0, reach_after - total_after) - max(0, reach - total)
        base = -(
            params[P_TIGHT] * cpu_after // CPU_UNIT_MILLI
            + params[P_STRANDED] * stranded
            + params[P_SPARE] * spare
        )
    elif policy == BEST_FIT:
        base = (25_600_000 - 100 * (cpu_after + 16 * total_after)) // 256_000
    elif policy == GPU_PACKING and gpus:
        whole = nodes[WHOLE, n]
        base = max(33 - whole, whole) if whole == nodes[USABLE, n] else -1
    return base
