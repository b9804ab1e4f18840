"""Which messages about the queue have a golden wire sample?

Each with all of its fields said. It does not know where they are kept.
"""

from __future__ import annotations

from typing import Any

from penstock_contracts import queue_facts as facts
from penstock_contracts.jobs import JobSpec
from penstock_contracts.queue_messages import SetPolicy
from penstock_contracts.queue_policy import Pool, QueuePolicy, Quota, Reservation

JOB = "01MCC5RM000000000000000001"
OTHER = "01MCC5RM000000000000000002"


def policy() -> QueuePolicy:
    """With every field of each part."""
    pool = Pool(
        name="h100",
        node_labels={"gpu": "h100"},
        order="hold",
        backfill="conservative",
        preempt="all",
        hold_s=60,
        aging_s=7_200,
    )
    quotas = (
        Quota(name="acme", pool="h100", guaranteed_gpu_milli=8_000, maximum_gpu_milli=16_000),
        Quota(
            name="vision",
            parent="acme",
            tenant="acme",
            project="vision",
            guaranteed_gpu_milli=4_500,
            maximum_cpu_milli=64_000,
            queued_max=100,
            weight=3,
        ),
    )
    reservations = (
        Reservation(
            name="fans", start_ms=1_000, end_ms=2_000, nodes=("node-a",), reason="new fans"
        ),
        Reservation(
            name="paper",
            start_ms=3_000,
            end_ms=4_000,
            node_labels={"rack": "r1"},
            tenant="acme",
            project="vision",
        ),
    )
    return QueuePolicy(
        pools=(pool,),
        quotas=quotas,
        reservations=reservations,
        half_life_s=43_200,
        predicts=False,
    )


def wire() -> tuple[Any, ...]:
    return (SetPolicy(key=JOB, policy=policy(), based_on=4),)


def job_facts() -> tuple[Any, ...]:
    return (
        facts.PolicySet(version=5, policy=policy(), key=JOB, set_ms=9),
        facts.PlaceKept(
            job_id=JOB,
            ranks=(facts.KeptRank(0, "n1", ("GPU-1",)), facts.KeptRank(1, "n2")),
            at_ms=99,
            cause=facts.PREEMPTION,
            alternative=1,
            victims=(OTHER,),
            awaits=(OTHER,),
        ),
        facts.PlaceGivenUp(JOB, "node_closed"),
        facts.HeadHeld("h100", JOB),
        facts.HeadPassed("h100", JOB),
        facts.JobsWoken((JOB, OTHER)),
    )


def spec() -> JobSpec:
    """With all that a job says of its turn."""
    return JobSpec(
        job_id=JOB,
        command=("python", "train.py"),
        pool="h100",
        deadline_ms=5_000,
        checkpoint_signal="SIGUSR1",
        checkpoint_s=600,
        tier="spot",
        project="vision",
    )
