"""Who held what, who waited, and under which policy, at each fact of the JOBS journal?

Replays the journal with rules of its own about pools and quotas, as a person would read the policy.
It takes every fact as it stands and judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import (
    AttemptEnded,
    BudgetNoted,
    HeadHeld,
    HeadPassed,
    JobFinished,
    JobRejected,
    JobSubmitted,
    LeaseGranted,
    NodeForgotten,
    NodeImaged,
    PlaceGivenUp,
    PlaceKept,
    PolicySet,
    RankReleased,
    StopRequested,
)
from penstock_contracts.queue_policy import Pool, QueuePolicy, Quota
from tests.checkers.history import History
from tests.checkers.leases import Lease, RankId, granted, surviving

AttemptId = tuple[str, int]
"""(job id, attempt)."""


class Wanted(msgspec.Struct, kw_only=True):
    """A job that has not ended. `number`: how many had been accepted before. `attempt`: the present
    one."""

    spec: JobSpec
    tenant: str
    number: int
    attempt: int = 1


def surely_ms(spec: JobSpec) -> int | None:
    """So long after its grant an attempt has surely given back what it holds; None = it states no
    limit, and may go on for ever."""
    if spec.time_limit_s is None:
        return None
    fetches = spec.container is not None or spec.inputs or spec.secrets
    begins_s = 300 if fetches else 10
    return 1_000 * (begins_s + spec.time_limit_s + spec.grace_s + 2)


class Policy:
    """A policy as a person reads it."""

    def __init__(self, policy: QueuePolicy, version: int = 0) -> None:
        self.policy, self.version = policy, version
        self.pools = policy.pools or (Pool(name="default"),)
        self.home = next((pool for pool in self.pools if pool.name == "default"), self.pools[0])
        self._quotas = {quota.name: quota for quota in policy.quotas}
        self._paths: dict[tuple[str, str, str], list[Quota]] = {}

    def pool_of_node(self, labels: dict[str, str]) -> Pool | None:
        fitting = (pool for pool in self.pools if not pool.node_labels.items() - labels.items())
        return next(fitting, None)

    def pool_of_job(self, spec: JobSpec) -> Pool:
        return next((pool for pool in self.pools if pool.name == spec.pool), self.home)

    def path_of(self, spec: JobSpec, tenant: str) -> list[Quota]:
        """The quotas in which a job counts, the narrowest first; empty = in none."""
        pool = self.pool_of_job(spec).name
        key = (pool, tenant, spec.project)
        path = self._paths.get(key)
        if path is None:
            path = self._paths[key] = self._path_of(*key)
        return path

    def _path_of(self, pool: str, tenant: str, project: str) -> list[Quota]:
        here = [
            quota
            for quota in self._quotas.values()
            if quota.tenant == tenant and tenant and self._where(quota) == pool
        ]
        own = [quota for quota in here if quota.project == project]
        quota = next(iter(own or [quota for quota in here if not quota.project]), None)
        path = []
        while quota is not None:
            path.append(quota)
            quota = self._quotas.get(quota.parent)
        return path

    def _where(self, quota: Quota) -> str:
        while not quota.pool and quota.parent in self._quotas:
            quota = self._quotas[quota.parent]
        return quota.pool or self.home.name


class Scene:
    """How it stood before the fact that is told next.

    `jobs` have not ended, `waiting` have no place, `wanted` are all there ever were; `leases`:
    until their release is proven; `stopping`: attempts that were asked to end, and why; `places`:
    what is kept for whom; `heads`: who holds up which pool; `counted`: tenants who had a budget.
    """

    def __init__(self) -> None:
        self.policy = Policy(QueuePolicy())
        self.images: dict[str, NodeImaged] = {}
        self.jobs: dict[str, Wanted] = {}
        self.waiting: dict[str, Wanted] = {}
        self.leases: dict[RankId, Lease] = {}
        self.wanted: dict[str, Wanted] = {}
        self.stopping: dict[AttemptId, str] = {}
        self.places: dict[str, PlaceKept] = {}
        self.heads: dict[str, str] = {}
        self.counted: set[str] = set()
        self._accepted = 0

    def held_in(self, quota: Quota) -> tuple[int, int]:
        """Milli-GPU and milli-CPU that count in a quota."""
        gpu = cpu = 0
        for lease in self.leases.values():
            wanted = self.wanted[lease.job_id]
            if any(
                one.name == quota.name for one in self.policy.path_of(wanted.spec, wanted.tenant)
            ):
                gpu += lease.gpu_milli * len(lease.devices)
                cpu += lease.cpu_milli
        return gpu, cpu

    def on(self, node: str) -> list[Lease]:
        return [lease for lease in self.leases.values() if lease.node == node]

    def take(self, at_ns: int, seq: int, fact: Any) -> None:
        fold = _FOLDS.get(type(fact))
        if fold is not None:
            fold(self, at_ns, seq, fact)

    # -- one fact each
    def _policy_set(self, at_ns: int, seq: int, fact: PolicySet) -> None:
        self.policy = Policy(fact.policy, fact.version)
        self.heads.clear()
        self.places.clear()

    def _imaged(self, at_ns: int, seq: int, fact: NodeImaged) -> None:
        self.images[fact.node] = fact

    def _forgotten(self, at_ns: int, seq: int, fact: NodeForgotten) -> None:
        self.images.pop(fact.node, None)

    def _submitted(self, at_ns: int, seq: int, fact: JobSubmitted) -> None:
        self._accepted += 1
        wanted = Wanted(spec=fact.spec, tenant=fact.tenant, number=self._accepted)
        for jobs in (self.jobs, self.waiting, self.wanted):
            jobs[fact.spec.job_id] = wanted

    def _granted(self, at_ns: int, seq: int, fact: LeaseGranted) -> None:
        self.waiting.pop(fact.job_id, None)
        self.places.pop(fact.job_id, None)
        self.leases.update(granted(at_ns, seq, fact))

    def _released(self, at_ns: int, seq: int, fact: RankReleased) -> None:
        self.leases.pop((fact.job_id, fact.attempt, fact.rank), None)

    def _stopped(self, at_ns: int, seq: int, fact: StopRequested) -> None:
        self.stopping[fact.job_id, fact.attempt] = fact.reason

    def _ended(self, at_ns: int, seq: int, fact: AttemptEnded) -> None:
        job = self.jobs.get(fact.job_id)
        if job is not None:
            job.attempt = fact.attempt + 1
            self.waiting[fact.job_id] = job

    def _finished(self, at_ns: int, seq: int, fact: JobFinished | JobRejected) -> None:
        for jobs in (self.jobs, self.waiting, self.places):
            jobs.pop(fact.job_id, None)

    def _kept(self, at_ns: int, seq: int, fact: PlaceKept) -> None:
        self.places[fact.job_id] = fact

    def _given_up(self, at_ns: int, seq: int, fact: PlaceGivenUp) -> None:
        self.places.pop(fact.job_id, None)

    def _head_held(self, at_ns: int, seq: int, fact: HeadHeld) -> None:
        self.heads[fact.pool] = fact.job_id

    def _head_passed(self, at_ns: int, seq: int, fact: HeadPassed) -> None:
        self.heads.pop(fact.pool, None)

    def _budget(self, at_ns: int, seq: int, fact: BudgetNoted) -> None:
        self.counted.add(fact.state.tenant)


_FOLDS: dict[type, Any] = {
    PolicySet: Scene._policy_set,
    NodeImaged: Scene._imaged,
    NodeForgotten: Scene._forgotten,
    JobSubmitted: Scene._submitted,
    LeaseGranted: Scene._granted,
    RankReleased: Scene._released,
    StopRequested: Scene._stopped,
    AttemptEnded: Scene._ended,
    JobFinished: Scene._finished,
    JobRejected: Scene._finished,
    PlaceKept: Scene._kept,
    PlaceGivenUp: Scene._given_up,
    HeadHeld: Scene._head_held,
    HeadPassed: Scene._head_passed,
    BudgetNoted: Scene._budget,
}


class Told(msgspec.Struct, frozen=True):
    """One fact: in world time, in the journal's own time, with the others of its entry."""

    at_ns: int
    now_ns: int
    seq: int
    term: int
    fact: Any
    beside: tuple[Any, ...]


def follow_queue(history: History) -> Iterator[tuple[Told, Scene]]:
    """Each fact that stands, and how it stood before it; the same object every time."""
    scene = Scene()
    for seen in surviving(history.jobs_entries):
        entry = seen.entry
        for fact in entry.facts:
            yield Told(seen.at_ns, entry.now_ns, entry.seq, entry.term, fact, entry.facts), scene
            scene.take(seen.at_ns, entry.seq, fact)
