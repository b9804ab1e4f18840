"""What does a grant give to each rank?

It does not know where a job fits, nor what becomes of the lease.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock_contracts.journal import LeaseGranted
from penstock_scheduler.core.state import Job, Lease


def leases_of(job: Job, fact: LeaseGranted, seq: int, now_ns: int) -> Iterator[Lease]:
    """One lease a rank, as the entry `seq` grants them."""
    spec = job.spec.resolved(fact.alternative)
    for placement in fact.ranks:
        yield Lease(
            job_id=fact.job_id,
            tenant=job.tenant,
            attempt=fact.attempt,
            rank=placement.rank,
            lease_seq=seq,
            granted_ns=now_ns,
            node=placement.node,
            uuids=placement.devices,
            gpu_milli=fact.gpu_milli,
            cpu_milli=fact.cpu_milli,
            memory_mib=fact.memory_mib,
            local_rank=placement.local_rank,
            spec=spec,
            paid_ms=fact.paid_ms,
        )
