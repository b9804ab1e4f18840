"""Which jobs and leases were there, according to the JOBS journal?

Folds the entries of a history into one record per job and per rank's lease, with the world time of
each step. It takes every fact as it stands and judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import (
    AttemptEnded,
    CancelRequested,
    JobFinished,
    JobRejected,
    JobSubmitted,
    LeaseGranted,
    RankExited,
    RankReleased,
)
from tests.checkers.history import Entry, History

RankId = tuple[str, int, int]
"""(job id, attempt, rank)."""


class Lease(msgspec.Struct, kw_only=True):
    """One rank's hold on its node, `[granted_ns, released_ns)` in world time."""

    lease_seq: int
    job_id: str
    attempt: int
    rank: int
    node: str
    devices: tuple[str, ...]
    gpu_milli: int
    cpu_milli: int
    memory_mib: int
    granted_ns: int
    exited: RankExited | None = None
    exited_ns: int | None = None
    released_ns: int | None = None
    evidence: str = ""


class Job(msgspec.Struct, kw_only=True):
    """One accepted job. `granted_ns`: when each attempt was granted."""

    job_id: str
    tenant: str
    spec: JobSpec
    submitted_ns: int
    granted_ns: dict[int, int] = {}
    cancel_ns: int | None = None
    returns: list[AttemptEnded] = []
    end: JobFinished | JobRejected | None = None
    ended_ns: int | None = None

    @property
    def state(self) -> str | None:
        """The terminal state, None while it lives."""
        if self.end is None:
            return None
        return self.end.state if isinstance(self.end, JobFinished) else "rejected"


class Journaled(msgspec.Struct, kw_only=True):
    """All jobs by id, all leases by rank."""

    jobs: dict[str, Job] = {}
    leases: dict[RankId, Lease] = {}


def surviving(entries: list[Entry]) -> list[Entry]:
    """The entries that stand in the end: a broker that lost its tail had others written there."""
    kept: list[Entry] = []
    for entry in entries:
        while kept and kept[-1].entry.seq >= entry.entry.seq:
            kept.pop()
        kept.append(entry)
    return kept


def facts_of(entries: list[Entry]) -> Iterator[tuple[int, int, Any]]:
    """(world time, sequence, fact) of every fact that stands, in order."""
    for seen in surviving(entries):
        for fact in seen.entry.facts:
            yield seen.at_ns, seen.entry.seq, fact


def fold_journal(history: History) -> Journaled:
    """What the journal comes to. The first of several contradicting facts counts."""
    found = Journaled()
    for at_ns, seq, fact in facts_of(history.jobs_entries):
        if isinstance(fact, JobSubmitted):
            job = Job(
                job_id=fact.spec.job_id, tenant=fact.tenant, spec=fact.spec, submitted_ns=at_ns
            )
            found.jobs.setdefault(fact.spec.job_id, job)
        elif isinstance(fact, LeaseGranted):
            _grant(found, at_ns, seq, fact)
        elif isinstance(fact, RankExited | RankReleased):
            _step(found, at_ns, fact)
        elif isinstance(fact, JobFinished | JobRejected | AttemptEnded | CancelRequested):
            _move(found, at_ns, fact)
    return found


def ever_granted(history: History) -> dict[RankId, list[Lease]]:
    """What each rank was ever given, also by entries that the broker has lost since."""
    found: dict[RankId, list[Lease]] = {}
    for seen in history.jobs_entries:
        for fact in seen.entry.facts:
            if isinstance(fact, LeaseGranted):
                for key, lease in granted(seen.at_ns, seen.entry.seq, fact):
                    found.setdefault(key, []).append(lease)
    return found


def _grant(found: Journaled, at_ns: int, seq: int, fact: LeaseGranted) -> None:
    job = found.jobs.get(fact.job_id)
    if job is not None:
        job.granted_ns.setdefault(fact.attempt, at_ns)
    for key, lease in granted(at_ns, seq, fact):
        found.leases.setdefault(key, lease)


def granted(at_ns: int, seq: int, fact: LeaseGranted) -> Iterator[tuple[RankId, Lease]]:
    """What each rank is given."""
    for place in fact.ranks:
        yield (
            (fact.job_id, fact.attempt, place.rank),
            Lease(
                lease_seq=seq,
                job_id=fact.job_id,
                attempt=fact.attempt,
                rank=place.rank,
                node=place.node,
                devices=place.devices,
                gpu_milli=fact.gpu_milli,
                cpu_milli=fact.cpu_milli,
                memory_mib=fact.memory_mib,
                granted_ns=at_ns,
            ),
        )


def _step(found: Journaled, at_ns: int, fact: RankExited | RankReleased) -> None:
    lease = found.leases.get((fact.job_id, fact.attempt, fact.rank))
    if lease is None:
        return
    if isinstance(fact, RankExited):
        if lease.exited is None:
            lease.exited, lease.exited_ns = fact, at_ns
    elif lease.released_ns is None:
        lease.released_ns, lease.evidence = at_ns, fact.evidence


def _move(
    found: Journaled, at_ns: int, fact: JobFinished | JobRejected | AttemptEnded | CancelRequested
) -> None:
    job = found.jobs.get(fact.job_id)
    if job is None:
        return
    if isinstance(fact, AttemptEnded):
        job.returns.append(fact)
    elif isinstance(fact, CancelRequested):
        job.cancel_ns = at_ns
    elif job.end is None:
        job.end, job.ended_ns = fact, at_ns
