"""What does a round of the scheduler cost when very many wait?

The core alone: 100,000 jobs in 1,000 quotas of a tree three levels deep before a full mesh; a round
is a job's end and all that follows from it. And what 10,000 jobs of one gang that fits nowhere cost
those who run beside them. CPU time, so that it can be measured beside other work.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from measure.report import emit, spread

from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import JobFinished, RankReleased
from penstock_contracts.nodes import Device, NodeDescription, NodeRegistered
from penstock_contracts.queue_facts import PolicySet
from penstock_contracts.queue_policy import Pool, QueuePolicy, Quota
from penstock_runtime.rubbish import only_when_swept
from penstock_scheduler.core.events import JobsRequested, NodeChanged, Ticked
from penstock_scheduler.core.machine import SchedulerCore

NOW_NS = 1_800_000_000_000_000_000
DEVICES = 8
ROUNDS = 200
TICKS = 10
COMPARED_BITS = 8
"""256 times in a half-life."""
ORGANISATIONS, TEAMS = 10, 100
PER_REQUEST = 500
LIMITS_S = (600, 3_600, 86_400)


class Mesh:
    """A core with its clock. Whoever runs, runs until he is ended here."""

    def __init__(self, nodes: int, policy: QueuePolicy | None = None) -> None:
        self.core = SchedulerCore()
        self.now_ns = NOW_NS
        self.seq = 0
        self.random = random.Random(7)
        self.feed([NodeChanged(NodeRegistered(a_node(index))) for index in range(nodes)])
        if policy is not None:
            self.fold([PolicySet(1, policy, "bench", NOW_NS // 1_000_000)])

    def feed(self, events: Iterable[object]) -> None:
        self.now_ns += 1_000_000
        self.seq += 1
        for event in events:
            for fact in self.core.decide(event, self.now_ns, self.seq):
                self.core.apply(fact, self.seq, self.now_ns)
        self.settle()

    def fold(self, facts: Sequence[Any]) -> None:
        self.now_ns += 1_000_000
        self.seq += 1
        for fact in facts:
            self.core.apply(fact, self.seq, self.now_ns)
        self.settle()

    def settle(self) -> None:
        while facts := self.core.settle(self.now_ns, self.seq):
            for fact in facts:
                self.core.apply(fact, self.seq, self.now_ns)

    def submit(self, tenant: str, jobs: Sequence[JobSpec]) -> None:
        for at in range(0, len(jobs), PER_REQUEST):
            self.feed([JobsRequested(tenant, self.seq + 1, tuple(jobs[at : at + PER_REQUEST]))])

    def end_one(self) -> None:
        """Some job ends, and what follows."""
        state = self.core.state
        lease = self.random.choice(list(state.leases.values()))
        job = state.jobs[lease.job_id]
        ended = JobFinished(
            job_id=lease.job_id, tenant=job.tenant, attempt=job.attempt, state="cancelled"
        )
        held = state.leases_of(job)
        released = [RankReleased(one.job_id, one.attempt, one.rank, None, "x") for one in held]
        self.fold([ended, *released])

    def end_one_later(self) -> None:
        """The same, so much later that use is compared anew in all quotas."""
        self.now_ns += (self.core.state.shares.half_life_s * 1_000_000_000 >> COMPARED_BITS) + 1
        self.end_one()

    def tick(self) -> None:
        self.now_ns += 1_000_000_000
        self.feed([Ticked({}, self.seq)])


def a_node(index: int) -> NodeDescription:
    return NodeDescription(
        node=f"n{index:04}",
        boot_id="boot",
        joined_ms=NOW_NS // 1_000_000,
        cpu_milli=128_000,
        memory_mib=1_000_000,
        devices=tuple(
            Device(uuid=f"n{index:04}-{at}", index=at, model="H100", memory_mib=81_920)
            for at in range(DEVICES)
        ),
    )


def a_job(number: int, **fields: Any) -> JobSpec:
    return JobSpec(job_id=ulid(NOW_NS // 1_000_000, number), command=("true",), **fields)


def a_tree(leaves: int) -> QueuePolicy:
    """Organisations, teams, projects; guarantees for a tenth of them."""
    quotas = [Quota(name=f"org{i}") for i in range(ORGANISATIONS)]
    quotas += [Quota(name=f"team{i}", parent=f"org{i % ORGANISATIONS}") for i in range(TEAMS)]
    quotas += [
        Quota(
            name=f"leaf{i}",
            parent=f"team{i % TEAMS}",
            tenant=f"t{i}",
            weight=1 + i % 7,
            maximum_gpu_milli=64_000,
        )
        for i in range(leaves)
    ]
    return QueuePolicy(pools=(Pool(name="default"),), quotas=tuple(quotas))


def timed(what: Callable[[], None], times: int) -> list[float]:
    found = []
    for _ in range(times):
        begun_ns = time.process_time_ns()
        what()
        found.append((time.process_time_ns() - begun_ns) / 1e6)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--leaves", type=int, default=1_000)
    parser.add_argument("--nodes", type=int, default=200)
    arguments = parser.parse_args()
    with only_when_swept():  # as the service does
        measure_quotas(arguments.queued, arguments.leaves, arguments.nodes)
        measure_gang(arguments.nodes, beside=0)
        measure_gang(arguments.nodes, beside=10_000)


def measure_quotas(queued: int, leaves: int, nodes: int) -> None:
    mesh = Mesh(nodes, a_tree(leaves))
    draw = mesh.random
    begun_ns = time.process_time_ns()
    each = queued // leaves
    for leaf in range(leaves):
        jobs = [
            a_job(
                leaf * each + at,
                gpus=draw.choice((1, 2, 4, 8)),
                priority=draw.randrange(10),
                time_limit_s=draw.choice(LIMITS_S),
            )
            for at in range(each)
        ]
        mesh.submit(f"t{leaf}", jobs)
    submit_us = (time.process_time_ns() - begun_ns) / 1e3 / queued
    waiting = len(mesh.core.state.line)
    rounds = timed(mesh.end_one, ROUNDS)
    compared = timed(mesh.end_one_later, TICKS)
    ticks = timed(mesh.tick, TICKS)
    emit(
        bench="queue_round",
        queued=waiting,
        leaf_quotas=leaves,
        nodes=nodes,
        submit_us_per_job=round(submit_us, 1),
        round=spread(rounds),
        round_that_compares_all=spread(compared),
        tick=spread(ticks),
    )


def measure_gang(nodes: int, beside: int) -> None:
    """One-GPU jobs come and go beside so many jobs of a gang that asks for more than is free."""
    mesh = Mesh(nodes)
    small = [a_job(number, gpus=1) for number in range(nodes * DEVICES + 5_000)]
    mesh.submit("small", small[: nodes * DEVICES])
    gang = [a_job(1_000_000 + at, gpus=DEVICES, ranks=nodes) for at in range(beside)]
    mesh.submit("gang", gang)
    mesh.submit("small", small[nodes * DEVICES :])
    rounds = timed(mesh.end_one, ROUNDS)
    emit(bench="queue_beside_gang", gang_jobs_queued=beside, round=spread(rounds))


if __name__ == "__main__":
    main()
