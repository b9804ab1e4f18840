"""How much of a fleet does a policy fill with a list of jobs?

One run: jobs arrive one at a time, none leaves, one that fits nowhere is gone. The packer decides;
here is only counted. It does not know files, nor what is printed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from penstock_scheduler.core.packing.layout import MILLI
from penstock_scheduler.core.packing.packer import Packer
from penstock_scheduler.core.packing.policies import POLICIES
from penstock_scheduler.core.packing.shapes import PackShape
from penstock_scheduler.core.packing.workload import Workload
from penstock_scheduler.simulate.arrivals import inflated
from penstock_scheduler.simulate.expectations import Expectations, known_workload
from penstock_scheduler.simulate.outcomes import DIGITS, paired, spread
from penstock_scheduler.simulate.traces import Nodes

REPORTED_PERCENT = 100
ARRIVALS_MAX = 10_000_000
"""In one run: its jobs are held in memory."""
_BLOCK = 256
"""Decisions between two looks at the clock and at the progress bar."""


class Point(NamedTuple):
    """The fleet when so much of it had been asked for; all in percent of its milli-GPU."""

    arrived: int
    allocated: float
    fragmented: float


class Run(NamedTuple):
    """What came of one policy with one seed. `allocated_percent`: by percent arrived;
    `decisions_per_s`: a second of the processor's time, whatever else it has to do."""

    seed: int
    policy: str
    allocated_percent: dict[str, float]
    unallocated_gpus: float
    decisions_per_s: float
    points: tuple[Point, ...]

    def line(self) -> dict[str, Any]:
        """What is printed of it."""
        return {
            "seed": self.seed,
            "policy": self.policy,
            "allocated_percent": self.allocated_percent,
            "unallocated_gpus": self.unallocated_gpus,
            "decisions_per_s": self.decisions_per_s,
        }


class Experiment(NamedTuple):
    """What is the same in all runs."""

    nodes: Nodes
    jobs: Sequence[PackShape]
    inflate: float
    workload: str

    def total(self, seeds: int, policies: int) -> int:
        """Decisions to come, roughly: for a progress bar."""
        asked = sum(job.asked_milli for job in self.jobs)
        share = self.inflate * self.nodes.capacity_milli / asked
        return int(len(self.jobs) * share * seeds * policies)

    def problem(self) -> str:
        """Why there can be no run, in words; empty when there can."""
        arrivals = self.total(1, 1)
        if arrivals > ARRIVALS_MAX:
            return f"{arrivals} jobs would arrive, at most {ARRIVALS_MAX} may"
        most = int(self.nodes.capacity_milli * self.inflate)
        least = min(job.asked_milli for job in self.jobs)
        if least > most:
            return f"the smallest job asks for {least} milli-GPU, {most} are all that may arrive"
        return ""


def runs(
    experiment: Experiment,
    policies: Sequence[str],
    seeds: Sequence[int],
    progress: Callable[[int], None],
) -> Iterator[Run]:
    """Every seed under every policy, seed by seed."""
    known = known_workload(experiment.workload, experiment.jobs, experiment.nodes)
    for seed in seeds:
        order = inflated(experiment.jobs, seed, experiment.nodes.capacity_milli, experiment.inflate)
        for policy in policies:
            yield _run(experiment, policy, seed, order, known, progress)


def packer_for(nodes: Nodes, policy: str, seed: int) -> Packer:
    """A packer with these nodes, empty."""
    packer = Packer(POLICIES[policy], seed=seed)
    for name, room in nodes.rooms.items():
        packer.put(name, room)
    return packer


def _run(
    experiment: Experiment,
    policy: str,
    seed: int,
    order: Sequence[PackShape],
    known: Workload | None,
    progress: Callable[[int], None],
) -> Run:
    packer = packer_for(experiment.nodes, policy, seed)
    refused: Counter[PackShape] = Counter()
    expectations = Expectations(packer, experiment.nodes, known, refused.items)
    if order:
        _load_machine_code(packer, order[0])
    capacity = experiment.nodes.capacity_milli
    points: list[Point] = []
    arrived = allocated = 0
    spent_s = 0.0
    for start in range(0, len(order), _BLOCK):
        begun_s = time.thread_time()
        for shape in order[start : start + _BLOCK]:
            if _passed(arrived + shape.asked_milli, capacity) > _passed(arrived, capacity):
                points += _points(arrived, shape, allocated, capacity, packer)
            arrived += shape.asked_milli
            expectations.see(shape)
            choice = packer.choose(shape)
            if choice is not None:
                packer.take(choice, shape)
                allocated += shape.asked_milli
            else:
                refused[shape] += 1
        spent_s += time.thread_time() - begun_s
        progress(min(_BLOCK, len(order) - start))
    last = round(experiment.inflate * 100)
    for percent in range(_passed(arrived, capacity) + 1, last):
        points.append(_point(percent, allocated, capacity, packer))
    points.append(_point(last, allocated, capacity, packer))
    reported = {
        str(p.arrived): round(p.allocated, DIGITS)
        for p in points
        if p.arrived in (REPORTED_PERCENT, last)
    }
    return Run(
        seed,
        policy,
        reported,
        round((capacity - allocated) / MILLI, DIGITS),
        round(len(order) / spent_s, 1) if order else 0.0,
        tuple(points),
    )


def _load_machine_code(packer: Packer, shape: PackShape) -> None:
    choice = packer.choose(shape)
    if choice is not None:
        packer.take(choice, shape)
        packer.give(choice, shape)


def _points(
    arrived: int, shape: PackShape, allocated: int, capacity: int, packer: Packer
) -> Iterator[Point]:
    """The percents that this arrival passes, as the fleet is before it."""
    first = _passed(arrived, capacity) + 1
    for percent in range(first, _passed(arrived + shape.asked_milli, capacity) + 1):
        yield _point(percent, allocated, capacity, packer)


def _passed(arrived: int, capacity: int) -> int:
    """The last percent that has been passed; -1 before the first arrival."""
    return (arrived * 100 - 1) // capacity


def _point(percent: int, allocated: int, capacity: int, packer: Packer) -> Point:
    fragmented = packer.fragmented_milli() * 100 / capacity
    return Point(percent, allocated * 100 / capacity, fragmented)


def summary(found: Sequence[Run], policies: Sequence[str]) -> dict[str, Any]:
    """Mean, spread and paired difference to the first policy, by policy and percent arrived."""
    lines = []
    first = {run.seed: run for run in found if run.policy == policies[0]}
    for policy in policies:
        own = [run for run in found if run.policy == policy]
        line: dict[str, Any] = {"policy": policy, "seeds": len(own), "allocated_percent": {}}
        for percent in own[0].allocated_percent:
            line["allocated_percent"][percent] = spread(
                [run.allocated_percent[percent] for run in own]
            )._asdict()
        line["unallocated_gpus"] = spread([run.unallocated_gpus for run in own])._asdict()
        line["decisions_per_s"] = spread([run.decisions_per_s for run in own])._asdict()
        if policy != policies[0]:
            line["paired_difference"] = {"to": policies[0]} | {
                percent: paired(
                    [run.allocated_percent[percent] for run in own],
                    [first[run.seed].allocated_percent[percent] for run in own],
                )
                for percent in own[0].allocated_percent
            }
        lines.append(line)
    return {"summary": lines}
