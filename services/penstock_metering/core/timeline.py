"""What was a device's time spent on?

Sweeps one device over one boot of its node and gives every milli-GPU·ms to exactly one state:

- `sold`: a usage segment ran inside its lease. (Later split by utilisation into sold-used and
  sold-idle.) A segment is its agent's evidence that work ran, so it stands over all else.
- `broken`: the device was not to be used. `unknown`: nobody could tell (node lost, between boots,
  silent, or running without a lease: at the provider's cost).
- `held`: leased, not running. `draining`: free on a cordoned node. `free`.

Precedence sold > broken > unknown > held > draining > free. Quantities rest on durations alone.
Positions of segments stand on their lease's axis, which may drift from the node's; so a lease that
followed another in the journal is never placed before that one's end. It does not know counters.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from penstock_contracts.jobs import GPU_MILLI_WHOLE

SOLD = "sold"
HELD = "held"
FREE = "free"
DRAINING = "draining"
BROKEN = "broken"
UNKNOWN = "unknown"
STATES = (SOLD, HELD, FREE, DRAINING, BROKEN, UNKNOWN)

_YIELDS = (FREE, DRAINING, HELD, UNKNOWN, BROKEN)
"""Whose time gives way when work ran at an instant that drifted out of the window."""


class Background(msgspec.Struct, frozen=True):
    """From `start_ms` until the next one, unused time is `state` (free, draining, broken or
    unknown)."""

    start_ms: int
    state: str


class DeviceLease(msgspec.Struct, frozen=True, kw_only=True):
    """A lease on this device: `order` and `released_order` are its place in the journal (None =
    still held); `runs` are its segments `(t0_ms, t1_ms)`."""

    order: int
    released_order: int | None
    granted_ms: int
    released_ms: int | None
    milli: int
    runs: tuple[tuple[int, int], ...] = ()


class DeviceTime(msgspec.Struct, frozen=True):
    """`milli_ms` per state sums to `capacity_milli_ms`. `running_milli_ms`: work ran, leased or
    not."""

    capacity_milli_ms: int
    running_milli_ms: int
    milli_ms: dict[str, int]


_LEASED, _RUNNING_LEASED, _RUNNING = 0, 1, 2
_Edge = tuple[int, int, int]
"""(instant, which level changes, by how much)"""


def sweep(
    start_ms: int,
    end_ms: int,
    background: Sequence[Background],
    leases: Iterable[DeviceLease],
) -> DeviceTime:
    """Give each milli-GPU·ms of `[start_ms, end_ms)` one state.

    `background` is in ascending order; before its first item time is unknown. Running beyond the
    device's whole capacity at one instant counts once, so that two accounts then disagree.
    """
    edges = _edges(end_ms, leases)
    changes = [Background(start_ms, UNKNOWN), *background]
    instants = sorted({start_ms, end_ms, *(c.start_ms for c in changes), *(e[0] for e in edges)})
    edges.sort()
    levels = [0, 0, 0]
    spent = dict.fromkeys(STATES, 0)
    running = drifted = at_edge = at_change = 0
    state = UNKNOWN
    for instant, following in pairwise(instants):
        while at_edge < len(edges) and edges[at_edge][0] == instant:
            levels[edges[at_edge][1]] += edges[at_edge][2]
            at_edge += 1
        while at_change < len(changes) and changes[at_change].start_ms <= instant:
            state = changes[at_change].state
            at_change += 1
        span_ms = following - instant
        inside = start_ms <= instant < end_ms
        ran = min(GPU_MILLI_WHOLE, levels[_RUNNING])
        sold = min(ran, levels[_RUNNING_LEASED])
        running += ran * span_ms
        spent[SOLD] += sold * span_ms
        spent[UNKNOWN] += (ran - sold) * span_ms
        if inside:
            _spend_rest(spent, state, span_ms, GPU_MILLI_WHOLE - ran, levels[_LEASED] - sold)
        else:
            drifted += ran * span_ms
    _make_room(spent, drifted)
    return DeviceTime(GPU_MILLI_WHOLE * (end_ms - start_ms), running, spent)


def _spend_rest(
    spent: dict[str, int], state: str, span_ms: int, rest_milli: int, leased_milli: int
) -> None:
    """What no work ran on: the background's state, except that leased time is held."""
    if state not in (BROKEN, UNKNOWN):
        held = min(rest_milli, max(0, leased_milli))
        spent[HELD] += held * span_ms
        rest_milli -= held
    spent[state] += rest_milli * span_ms


def _make_room(spent: dict[str, int], drifted_milli_ms: int) -> None:
    """Work placed outside the window ran inside it: other time is less by as much."""
    for state in _YIELDS:
        taken = min(spent[state], drifted_milli_ms)
        spent[state] -= taken
        drifted_milli_ms -= taken


def _edges(end_ms: int, leases: Iterable[DeviceLease]) -> list[_Edge]:
    edges: list[_Edge] = []
    for lease, shift_ms in _place(leases):
        granted_ms, released_ms = lease.granted_ms, lease.released_ms
        _add(edges, _LEASED, granted_ms + shift_ms, _until(end_ms, released_ms, shift_ms), lease)
        for t0_ms, t1_ms in lease.runs:
            _add(edges, _RUNNING, t0_ms + shift_ms, t1_ms + shift_ms, lease)
            last_ms = t1_ms if released_ms is None else min(t1_ms, released_ms)
            first_ms = max(t0_ms, granted_ms)
            _add(edges, _RUNNING_LEASED, first_ms + shift_ms, last_ms + shift_ms, lease)
    return edges


def _until(end_ms: int, released_ms: int | None, shift_ms: int) -> int:
    return end_ms if released_ms is None else released_ms + shift_ms


def _add(edges: list[_Edge], level: int, from_ms: int, to_ms: int, lease: DeviceLease) -> None:
    if to_ms > from_ms:
        edges.append((from_ms, level, lease.milli))
        edges.append((to_ms, level, -lease.milli))


def _place(leases: Iterable[DeviceLease]) -> Iterable[tuple[DeviceLease, int]]:
    """Each lease with the ms to move it by, so that it begins behind those released before it."""
    released: list[tuple[int, int]] = []
    free_from_ms: int | None = None
    for lease in sorted(leases, key=lambda lease: lease.order):
        while released and released[0][0] <= lease.order:
            end_ms = heapq.heappop(released)[1]
            free_from_ms = end_ms if free_from_ms is None else max(free_from_ms, end_ms)
        shift_ms = 0 if free_from_ms is None else max(0, free_from_ms - lease.granted_ms)
        if lease.released_order is not None and lease.released_ms is not None:
            last_ms = max((t1 for _, t1 in lease.runs), default=lease.released_ms)
            end_ms = max(lease.released_ms, last_ms) + shift_ms
            heapq.heappush(released, (lease.released_order, end_ms))
        yield lease, shift_ms
