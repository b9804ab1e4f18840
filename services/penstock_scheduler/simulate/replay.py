"""How long do the jobs of a trace wait under a policy, and how full is the fleet meanwhile?

Jobs come and end at their times, in virtual time. Those that do not fit wait in the order in which
they came; whenever something ends the line is gone through from the front, and each job that fits
starts, so later ones may overtake (backfill without reservation). The packer decides; here is only
counted. It does not know files, how often a trace is repeated, nor what is printed.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from penstock_scheduler.core.packing.layout import CPU, MEMORY, TOTAL
from penstock_scheduler.core.packing.packer import Choice
from penstock_scheduler.core.packing.shapes import PackShape
from penstock_scheduler.core.packing.workload import Workload
from penstock_scheduler.simulate.expectations import Expectations
from penstock_scheduler.simulate.outcomes import DIGITS
from penstock_scheduler.simulate.placement import packer_for
from penstock_scheduler.simulate.traces import Nodes, Timed

WAITING_RULE = "in order of arrival, and whoever fits may overtake"
_SIZES = (CPU, MEMORY, TOTAL)
POINTS_MAX = 200
"""Of the course over time so many points are told."""


class Moment(NamedTuple):
    """The fleet at a time after the first arrival; shares in percent of its milli-GPU."""

    at_s: float
    allocated: float
    fragmented: float
    waiting: int


class Replay(NamedTuple):
    """What came of one policy. Shares are means over time, from the first arrival to the last, of
    that while somebody waited (None = nobody did), and to the last end; `queueing_s`: of all jobs
    that could ever run, sorted."""

    seed: int
    policy: str
    compress: float
    never_fitted: int
    queueing_s: tuple[float, ...]
    allocated: float
    allocated_while_waiting: float | None
    allocated_to_end: float
    fragmented: float
    ended_s: float
    moments: tuple[Moment, ...]

    def line(self) -> dict[str, Any]:
        """What is printed of it."""
        waits = self.queueing_s
        return {
            "seed": self.seed,
            "policy": self.policy,
            "compress": round(self.compress, DIGITS),
            "waiting_rule": WAITING_RULE,
            "jobs": len(waits),
            "never_fitted": self.never_fitted,
            "waited": sum(wait > 0 for wait in waits),
            "queueing_s": {
                "mean": round(fmean(waits), DIGITS) if waits else None,
                "p50": _quantile(waits, 50),
                "p99": _quantile(waits, 99),
                "max": _quantile(waits, 100),
            },
            "allocated_percent": round(self.allocated, DIGITS),
            "allocated_percent_while_waiting": _rounded(self.allocated_while_waiting),
            "allocated_percent_to_last_end": round(self.allocated_to_end, DIGITS),
            "fragmented_percent": round(self.fragmented, DIGITS),
            "ended_s": round(self.ended_s, DIGITS),
            "over_time": [
                [*(round(value, DIGITS) for value in moment[:3]), moment.waiting]
                for moment in self.moments
            ],
        }


def replay(
    nodes: Nodes,
    jobs: Sequence[Timed],
    policy: str,
    seed: int,
    compress: float,
    known: Workload | None,
    progress: Callable[[int], None],
) -> Replay:
    """The jobs, by arrival, under a policy. `compress`: times between arrivals are divided by it,
    durations are not; `known`: the workload, None = to be learned."""
    return _World(nodes, jobs, policy, seed, compress, known).run(progress)


class _World:
    """The fleet, who runs, who waits, and what was counted so far."""

    def __init__(
        self,
        nodes: Nodes,
        jobs: Sequence[Timed],
        policy: str,
        seed: int,
        compress: float,
        known: Workload | None,
    ) -> None:
        self._packer = packer_for(nodes, policy, seed)
        self._line: dict[PackShape, deque[tuple[int, float]]] = {}
        self._expectations = Expectations(self._packer, nodes, known, self._numbers)
        self._nodes = nodes
        self._jobs = jobs
        self._policy = policy
        self._seed = seed
        self._compress = compress
        distinct = dict.fromkeys(job.shape for job in jobs)
        self._never = {shape for shape in distinct if self._packer.choose(shape) is None}
        self._ends: list[tuple[float, int]] = []
        self._choices: dict[int, Choice] = {}
        self._waiting = 0
        self._waits: list[float] = []
        self._now_s = self._allocated = self._fragmented = 0.0
        self._area = self._fragmented_area = self._full_area = self._full_s = 0.0
        self._moments: list[Moment] = []

    def run(self, progress: Callable[[int], None]) -> Replay:
        first_s = self._jobs[0].arrival_s
        last_s = (self._jobs[-1].arrival_s - first_s) / self._compress
        for index, job in enumerate(self._jobs):
            at_s = (job.arrival_s - first_s) / self._compress
            self._end_until(at_s)
            self._pass_time(at_s)
            self._arrive(index, job.shape)
            self._note(at_s, last_s)
            progress(1)
        area, fragmented = self._area, self._fragmented_area
        while_waiting = self._full_area / self._full_s if self._full_s else None
        self._end_until(float("inf"))
        return Replay(
            self._seed,
            self._policy,
            self._compress,
            len(self._jobs) - len(self._waits),
            tuple(sorted(self._waits)),
            area / last_s if last_s else self._allocated,
            while_waiting,
            self._area / self._now_s if self._now_s else self._allocated,
            fragmented / last_s if last_s else self._fragmented,
            self._now_s,
            tuple(self._moments),
        )

    # -- parts
    def _numbers(self) -> Iterator[tuple[PackShape, int]]:
        """How many jobs of each shape wait."""
        return ((shape, len(jobs)) for shape, jobs in self._line.items())

    def _arrive(self, index: int, shape: PackShape) -> None:
        self._expectations.see(shape)
        if shape not in self._never and not self._start(index, self._now_s):
            self._line.setdefault(shape, deque()).append((index, self._now_s))
            self._waiting += 1

    def _end_until(self, until_s: float) -> None:
        """Ends what ends by then; after each time something ended the line is gone through."""
        while self._ends and self._ends[0][0] <= until_s:
            at_s = self._ends[0][0]
            self._pass_time(at_s)
            freed: dict[str, None] = {}
            while self._ends and self._ends[0][0] == at_s:
                index = heapq.heappop(self._ends)[1]
                shape, choice = self._jobs[index].shape, self._choices.pop(index)
                self._packer.give(choice, shape)
                self._allocated -= self._percent(shape)
                freed[choice.node] = None
            if self._line:
                self._go_through_line(freed)

    def _go_through_line(self, freed: Iterable[str]) -> None:
        """Whoever comes first of those whose shape has not been found to fit nowhere. Nobody who
        waits fits any node but those from which something was taken away."""
        fleet = self._packer.fleet
        rooms = [fleet.nodes[_SIZES, fleet.columns[name]].tolist() for name in freed]
        heads = [
            (jobs[0][0], shape)
            for shape, jobs in self._line.items()
            if any(_may_hold(room, shape) for room in rooms)
        ]
        heapq.heapify(heads)
        while heads:
            index, shape = heapq.heappop(heads)
            jobs = self._line[shape]
            if not self._start(index, jobs[0][1]):
                continue
            jobs.popleft()
            self._waiting -= 1
            if jobs:
                heapq.heappush(heads, (jobs[0][0], shape))
            else:
                del self._line[shape]

    def _start(self, index: int, since_s: float) -> bool:
        job = self._jobs[index]
        choice = self._packer.choose(job.shape)
        if choice is None:
            return False
        self._packer.take(choice, job.shape)
        self._choices[index] = choice
        heapq.heappush(self._ends, (self._now_s + job.duration_s, index))
        self._waits.append(self._now_s - since_s)
        self._allocated += self._percent(job.shape)
        return True

    def _percent(self, shape: PackShape) -> float:
        return shape.asked_milli * 100 / self._nodes.capacity_milli

    def _pass_time(self, at_s: float) -> None:
        passed_s = at_s - self._now_s
        if passed_s > 0:
            self._fragmented = self._fragmented_percent()
            self._area += self._allocated * passed_s
            self._fragmented_area += self._fragmented * passed_s
            if self._waiting:
                self._full_area += self._allocated * passed_s
                self._full_s += passed_s
            self._now_s = at_s

    def _note(self, at_s: float, last_s: float) -> None:
        """A point of the course, where one is due."""
        if at_s >= last_s * len(self._moments) / POINTS_MAX and len(self._moments) < POINTS_MAX:
            moment = Moment(at_s, self._allocated, self._fragmented_percent(), self._waiting)
            self._moments.append(moment)

    def _fragmented_percent(self) -> float:
        return self._packer.fragmented_milli() * 100 / self._nodes.capacity_milli


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _may_hold(room: Sequence[int], shape: PackShape) -> bool:
    """Sure only when it says no."""
    cpu_milli, memory_mib, free_milli = room
    return (
        cpu_milli >= shape.cpu_milli
        and memory_mib >= shape.memory_mib
        and free_milli >= shape.asked_milli
    )


def _quantile(ordered: Sequence[float], percent: int) -> float | None:
    """Of sorted values the least that so many percent do not exceed."""
    if not ordered:
        return None
    return round(ordered[max(0, -(-len(ordered) * percent // 100) - 1)], DIGITS)
