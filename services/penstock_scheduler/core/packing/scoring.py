"""How good is one node for one shape, as loops that numba turns into machine code?

The same integers as `vectors.py`; docs/placement.md has the formulas. It does not know which nodes
are asked, nor which wins.
"""

from __future__ import annotations

import numpy as np

from penstock_scheduler.core.packing.compiled import compiled
from penstock_scheduler.core.packing.layout import (
    ALLOWED,
    BEST_FIT,
    COUNT,
    CPU,
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
    SUM,
    TOTAL,
    USABLE,
    WEIGHT_SUM,
    WEIGHT_SUM_BITS,
    WHOLE,
    Array,
    Profile,
    Room,
    Row,
)


@compiled
def score(n: int, room: Room, profile: Profile, row: Row) -> None:
    """Writes the score of node `n`, and its best device for a share, into the row."""
    params, scores = row.params, row.scores
    scores[FIXED, n] = INFEASIBLE
    scores[LOSS, n] = 0
    scores[DEVICE, n] = NO_DEVICE
    if room.nodes[CPU, n] < params[P_CPU] or not room.nodes[OPEN, n]:
        return
    if params[P_GPUS] and params[P_MILLI] < MILLI:
        _score_share(n, room, profile, row)
        return
    mask = 0
    if params[P_GPUS]:
        mask = whole_devices(n, params[P_GPUS], room.devices, row.kinds)
        if not mask:
            return
    fill = _fill_after_mask(n, mask, room, profile, params)
    scores[FIXED, n] = _value(n, MILLI, fill, mask, room, profile, row)


@compiled
def _score_share(n: int, room: Room, profile: Profile, row: Row) -> None:
    """The best device for a share; of equals the first."""
    params, devices = row.params, room.devices
    policy, milli = params[P_POLICY], params[P_MILLI]
    best = 0
    for d in range(devices.shape[2]):
        kind, free = devices[KIND, n, d], devices[FREE, n, d]
        if kind == NO_DEVICE or free < milli or not row.kinds[ALLOWED, kind]:
            continue
        if _seen_before(n, d, devices):
            continue
        fill = _fill_after(n, free, kind, room, profile, params)
        value = _value(n, free, fill, 1 << d, room, profile, row)
        loss = 0
        if policy == PENSTOCK:
            loss = profile.phi[free] - profile.phi[free - milli] - profile.phi[milli]
            rank = value - params[P_REFERENCE] * loss // MILLI
        elif policy == FGD:
            rank = value
        else:
            rank = -free
        if row.scores[DEVICE, n] == NO_DEVICE or rank > best:
            best = rank
            row.scores[FIXED, n] = value
            row.scores[LOSS, n] = loss
            row.scores[DEVICE, n] = d


@compiled
def _seen_before(n: int, d: int, devices: Array) -> bool:
    """Whether a device before this one is the same to every shape."""
    for e in range(d):
        if (
            devices[FREE, n, e] == devices[FREE, n, d]
            and devices[KIND, n, e] == devices[KIND, n, d]
        ):
            return True
    return False


@compiled
def whole_devices(n: int, gpus: int, devices: Array, kinds: Array) -> int:
    """The first wholly free devices that may be used, as a bit mask; 0 = not enough."""
    mask = 0
    found = 0
    for d in range(devices.shape[2]):
        kind = devices[KIND, n, d]
        if kind != NO_DEVICE and devices[FREE, n, d] == MILLI and kinds[ALLOWED, kind]:
            mask |= 1 << d
            found += 1
            if found == gpus:
                return mask
    return 0


@compiled
def _fill_after(n: int, free: int, kind: int, room: Room, profile: Profile, params: Array) -> int:
    """FILL of a node after a device of this kind with `free` has lost the share asked for."""
    groups, counts = profile.groups, room.counts
    step = np.searchsorted(profile.steps, room.nodes[CPU, n] - params[P_CPU], side="right")
    rest = free - params[P_MILLI]
    fill = 0
    for g in range(groups.shape[1]):
        count, usable = counts[COUNT, n, g], counts[SUM, n, g]
        least = groups[GROUP_MILLI, g]
        if free >= least and groups[GROUP_KINDS + kind, g]:
            if rest >= least:
                usable -= free - rest
            else:
                usable -= free
                count -= 1
        if count >= groups[GROUP_GPUS, g]:
            fill += profile.cumulated[step, g] * usable
    return fill


@compiled
def _fill_after_mask(n: int, mask: int, room: Room, profile: Profile, params: Array) -> int:
    """FILL of a node after the devices of the mask, all wholly free, are taken."""
    groups, counts = profile.groups, room.counts
    step = np.searchsorted(profile.steps, room.nodes[CPU, n] - params[P_CPU], side="right")
    fill = 0
    for g in range(groups.shape[1]):
        count, usable = counts[COUNT, n, g], counts[SUM, n, g]
        for d in range(room.devices.shape[2]):
            if (mask >> d) & 1 and groups[GROUP_KINDS + room.devices[KIND, n, d], g]:
                count -= 1
                usable -= MILLI
        if count >= groups[GROUP_GPUS, g]:
            fill += profile.cumulated[step, g] * usable
    return fill


@compiled
def _value(n: int, free: int, fill: int, mask: int, room: Room, profile: Profile, row: Row) -> int:
    """The part of a score that stays while the node does. `free`: on the device of a share."""
    params = row.params
    policy = params[P_POLICY]
    asked = params[P_GPUS] * params[P_MILLI]
    growth = room.nodes[FILL, n] - fill - asked * WEIGHT_SUM
    value: int = 0
    if policy == PENSTOCK:
        value = _default_value(n, growth, mask, room, row)
    elif policy == FGD:
        value = int(np.searchsorted(profile.thresholds, -growth, side="right"))
    elif policy == BEST_FIT:
        left = room.nodes[CPU, n] - params[P_CPU] + 16 * (room.nodes[TOTAL, n] - asked)
        value = (25_600_000 - 100 * left) // 256_000
    elif policy == GPU_PACKING:
        value = _gpu_packing(free, params[P_GPUS], room.nodes[USABLE, n], room.nodes[WHOLE, n])
    return value


@compiled
def _default_value(n: int, growth: int, mask: int, room: Room, row: Row) -> int:
    """The default policy, but for the loss against a perfect pattern; in millionths of a GPU."""
    params = row.params
    cpu, total = room.nodes[CPU, n], room.nodes[TOTAL, n]
    cpu_after = cpu - params[P_CPU]
    total_after = total - params[P_GPUS] * params[P_MILLI]
    reach = cpu * MILLI // params[P_RATIO]
    reach_after = cpu_after * MILLI // params[P_RATIO]
    stranded = max(0, total_after - reach_after) - max(0, total - reach)
    spare = max(0, reach_after - total_after) - max(0, reach - total)
    price = 0
    for d in range(room.devices.shape[2]):
        if (mask >> d) & 1:
            price += row.kinds[PRICE, room.devices[KIND, n, d]] * params[P_MILLI]
    value: int = (
        -((params[P_FRAGMENT] * growth) >> WEIGHT_SUM_BITS)
        - params[P_TIGHT] * cpu_after // 128_000
        - params[P_STRANDED] * stranded
        - params[P_SPARE] * spare
        - params[P_PRICE] * price // MILLI
    )
    return value


@compiled
def _gpu_packing(free: int, gpus: int, usable: int, whole: int) -> int:
    """Shared devices first, then free devices of a used node, then a free node."""
    if gpus == 0:
        return 0
    if whole == usable:
        return max(33 - whole, whole)
    if free == MILLI:
        return max(50 - gpus, 33)
    return max(100 - free * 100 // MILLI // 10, 50)
