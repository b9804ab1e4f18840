"""How do tests of preemption make a mesh in which some hold what others are guaranteed?

Quotas of tenants, work that runs, and what facts say of who has to go. It does not judge.
"""

from __future__ import annotations

from typing import Any

from penstock_contracts.journal import LeaseGranted, PolicySet, StopRequested
from penstock_contracts.queue_policy import Pool, QueuePolicy, Quota
from tests.scheduler.driver import Driver


def a_quota(name: str, gpus: int, **fields: Any) -> Quota:
    """A tenant's quota of the same name, that guarantees it so many GPUs."""
    fields.setdefault("tenant", name)
    return Quota(name=name, guaranteed_gpu_milli=1000 * gpus, **fields)


def a_mesh(*nodes: Any, quotas: tuple[Quota, ...] = (), **pool: Any) -> Driver:
    driver = Driver(*nodes)
    pool = {"order": "skip", "backfill": "none", **pool}
    policy = QueuePolicy(pools=(Pool(name="default", **pool),), quotas=quotas)
    driver.seq += 1
    driver.core.apply(PolicySet(1, policy, "key", 0), driver.seq, driver.now_ns)
    return driver


def running(driver: Driver, *jobs: Any, tenant: str) -> None:
    driver.submit(*jobs, tenant=tenant)
    for job in jobs:
        driver.start(job)


def stopped(facts: list[Any]) -> list[str]:
    return [fact.job_id for fact in facts if isinstance(fact, StopRequested)]


def granted(facts: list[Any]) -> list[str]:
    return [fact.job_id for fact in facts if isinstance(fact, LeaseGranted)]


def yields(driver: Driver, job: Any) -> list[Any]:
    return driver.end(job, code=None, signal=15, reason="preempted")
