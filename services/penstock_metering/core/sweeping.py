"""What was a device's time spent on?

Sweeps one device over a stretch of one boot of its node and gives every milli-GPU·ms to exactly one
state:

- `sold_used`, `sold_idle`, `sold`: a usage segment ran inside its lease, and the device worked, or
  did not, or nobody measured. A segment is its agent's evidence that work ran, so it stands over
  all else.
- `broken`: the device was not to be used. `unknown`: nobody could tell (node lost, between boots,
  silent, or running without a lease: at the provider's cost).
- `held`: leased, not running. `draining`: free on a cordoned node.
- `free_no_demand`, `free_fragmented`, `free_quota`: free, and what jobs waited for meanwhile.

Precedence sold > broken > unknown > held > draining > free. Quantities rest on durations alone; a
measured amount is spread evenly over its segment. It does not know counters, nor how leases came to
lie where they do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_metering.core.demand import Reasons
from penstock_metering.core.months import MS_PER_DAY, day_of

STATES = (
    "sold_used", "sold_idle", "sold", "held", "free_no_demand", "free_fragmented", "free_quota",
    "draining", "broken", "unknown",
)  # fmt: skip
SOLD_USED, SOLD_IDLE, SOLD, HELD, FREE, _, _, DRAINING, BROKEN, UNKNOWN = range(len(STATES))
"""Places in an account of time. The reasons to be free stand behind `FREE` in their order."""

_YIELDS = (FREE, FREE + 1, FREE + 2, DRAINING, HELD, UNKNOWN, BROKEN)
"""Whose time gives way when work ran at an instant that drifted out of the window."""


class Background(NamedTuple):
    """From `start_ms` until the next one, unused time is `state` (free, draining, broken or
    unknown)."""

    start_ms: int
    state: int


class Run(NamedTuple):
    """Work on the device in `[t0_ms, t1_ms)`, sold within `[from_ms, to_ms)`. `used_milli_ms`, at
    most its quantity, and `energy_mj` are of all of it; None = not measured."""

    t0_ms: int
    t1_ms: int
    milli: int
    from_ms: int
    to_ms: int
    used_milli_ms: int | None = None
    energy_mj: int | None = None


class Hold(NamedTuple):
    """A lease has `milli` of the device in `[from_ms, to_ms)`; `to_ms` None = still."""

    from_ms: int
    to_ms: int | None
    milli: int


class Spent(msgspec.Struct, array_like=True):
    """An account of time: milli-GPU·ms per state, of work outside the window (`drifted`), and of
    all that ran, leased or not; energy of what was sold, None = none measured."""

    milli_ms: list[int] = msgspec.field(default_factory=lambda: [0] * len(STATES))
    drifted_milli_ms: int = 0
    running_milli_ms: int = 0
    energy_mj: int | None = None

    def add(self, other: Spent) -> None:
        self.milli_ms = [a + b for a, b in zip(self.milli_ms, other.milli_ms, strict=True)]
        self.drifted_milli_ms += other.drifted_milli_ms
        self.running_milli_ms += other.running_milli_ms
        if other.energy_mj is not None:
            self.energy_mj = (self.energy_mj or 0) + other.energy_mj

    def copy(self) -> Spent:
        return Spent(
            list(self.milli_ms), self.drifted_milli_ms, self.running_milli_ms, self.energy_mj
        )

    def settled(self, *, within: bool = False) -> list[int]:
        """The states, with work from outside the window inside it: other time is less by as much.
        `within`: what finds no room is left out, so that the sum is that of the window."""
        milli_ms, debt = list(self.milli_ms), self.drifted_milli_ms
        for state in (*_YIELDS, SOLD, SOLD_IDLE, SOLD_USED) if within else _YIELDS:
            taken = min(milli_ms[state], debt)
            milli_ms[state] -= taken
            debt -= taken
        return milli_ms


class Window(NamedTuple):
    """What is swept: `[start_ms, end_ms)` is the device's time, of which all before `from_ms` was
    swept before (`EVER` = nothing was). Accounts are kept apart up to `cut_ms` and behind it."""

    start_ms: int
    end_ms: int
    from_ms: int
    cut_ms: int


EVER = -(1 << 62)
NEVER = 1 << 62

Part = tuple[bool, int]
"""(behind the cut, UTC day)"""


def sweep(
    window: Window,
    background: Sequence[Background],
    holds: Iterable[Hold],
    runs: Iterable[Run],
    reasons: Reasons,
) -> dict[Part, Spent]:
    """Give each milli-GPU·ms of the window behind `from_ms` one state.

    `background` is in ascending order and says the state from `from_ms` on; what it does not reach
    is unknown. Running beyond the device's whole capacity at one instant counts once, so that two
    accounts then disagree.
    """
    edges = _edges(window, holds, runs)
    instants = _instants(window, background, edges)
    edges.sort(key=lambda edge: edge[0])
    found: dict[Part, Spent] = {}
    active: dict[int, Run] = {}
    leased = running = at_edge = at_change = 0
    state = UNKNOWN
    for instant, following in pairwise(instants):
        while at_edge < len(edges) and edges[at_edge][0] == instant:
            _, more_leased, more_running, run, key = edges[at_edge]
            leased += more_leased
            running += more_running
            if run is not None:
                if more_running > 0:
                    active[key] = run
                else:
                    del active[key]
            at_edge += 1
        while at_change < len(background) and background[at_change].start_ms <= instant:
            state = background[at_change].state
            at_change += 1
        inside = window.start_ms <= instant < window.end_ms
        if not inside and not running:
            continue
        day = day_of(max(window.start_ms, min(instant, window.end_ms - 1)))
        part = (instant >= window.cut_ms, day)
        spent = found.get(part)
        if spent is None:
            spent = found[part] = Spent()
        span_ms = following - instant
        ran = min(GPU_MILLI_WHOLE, running)
        sold = _sell(spent, active, instant, following, ran) if running else 0
        spent.running_milli_ms += ran * span_ms
        spent.milli_ms[UNKNOWN] += (ran - sold) * span_ms
        if inside:
            rest = GPU_MILLI_WHOLE - ran
            if rest:
                _spend_rest(spent, state, instant, following, rest, leased - sold, reasons)
        else:
            spent.drifted_milli_ms += ran * span_ms
    return found


def by_day(from_ms: int, to_ms: int) -> Iterator[tuple[int, int]]:
    """The whole device's time in each day of a stretch."""
    while from_ms < to_ms:
        day = day_of(from_ms)
        until_ms = min(to_ms, (day + 1) * MS_PER_DAY)
        yield day, GPU_MILLI_WHOLE * (until_ms - from_ms)
        from_ms = until_ms


def _sell(spent: Spent, active: dict[int, Run], from_ms: int, to_ms: int, ran: int) -> int:
    """Work inside its lease; returns how much of the device it had."""
    sold = known = used = 0
    for run in active.values():
        if run.from_ms <= from_ms and to_ms <= run.to_ms:
            sold += run.milli
            if run.used_milli_ms is not None:
                known += run.milli
                used += _share(run.used_milli_ms, run, from_ms, to_ms)
            if run.energy_mj is not None:
                energy = _share(run.energy_mj, run, from_ms, to_ms)
                spent.energy_mj = (spent.energy_mj or 0) + energy
    if sold > ran:  # more than there is: nobody can say whose use was measured
        sold, known, used = ran, 0, 0
    span_ms = to_ms - from_ms
    spent.milli_ms[SOLD_USED] += used
    spent.milli_ms[SOLD_IDLE] += known * span_ms - used
    spent.milli_ms[SOLD] += (sold - known) * span_ms
    return sold


def _share(amount: int, run: Run, from_ms: int, to_ms: int) -> int:
    """Shares of one run sum to its amount, however it is divided."""
    whole_ms = run.t1_ms - run.t0_ms
    return amount * (to_ms - run.t0_ms) // whole_ms - amount * (from_ms - run.t0_ms) // whole_ms


def _spend_rest(
    spent: Spent, state: int, from_ms: int, to_ms: int, rest: int, leased: int, reasons: Reasons
) -> None:
    """What no work ran on: the background's state, except that leased time is held."""
    span_ms = to_ms - from_ms
    if state not in (BROKEN, UNKNOWN):
        held = min(rest, max(0, leased))
        spent.milli_ms[HELD] += held * span_ms
        rest -= held
    if state == FREE and rest:
        for reason, reason_ms in enumerate(reasons.split(from_ms, to_ms)):
            spent.milli_ms[FREE + reason] += rest * reason_ms
    else:
        spent.milli_ms[state] += rest * span_ms


_Edge = tuple[int, int, int, Run | None, int]
"""(instant, milli leased from then on, milli running, which run, its number)"""


def _edges(window: Window, holds: Iterable[Hold], runs: Iterable[Run]) -> list[_Edge]:
    edges: list[_Edge] = []
    begin_ms = window.from_ms
    for hold in holds:
        from_ms = max(begin_ms, hold.from_ms)
        to_ms = max(window.end_ms, begin_ms) if hold.to_ms is None else hold.to_ms
        if to_ms > from_ms:
            edges += (from_ms, hold.milli, 0, None, 0), (to_ms, -hold.milli, 0, None, 0)
    for number, run in enumerate(runs):
        from_ms = max(begin_ms, run.t0_ms)
        if run.t1_ms > from_ms:
            edges.append((from_ms, 0, run.milli, run, number))
            edges.append((run.t1_ms, 0, -run.milli, run, number))
            for inner_ms in (run.from_ms, run.to_ms):
                if from_ms < inner_ms < run.t1_ms:
                    edges.append((inner_ms, 0, 0, None, 0))
    return edges


def _instants(
    window: Window, background: Sequence[Background], edges: Sequence[_Edge]
) -> list[int]:
    instants = {edge[0] for edge in edges}
    instants.update(change.start_ms for change in background)
    instants.update(window)
    first_ms, last_ms = max(window.from_ms, min(instants)), max(instants)
    midnight_ms = (max(window.start_ms, first_ms) // MS_PER_DAY + 1) * MS_PER_DAY
    instants.update(range(midnight_ms, min(last_ms, window.end_ms), MS_PER_DAY))
    return sorted(instant for instant in instants if instant >= first_ms)
