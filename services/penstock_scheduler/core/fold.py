"""How does a fact change the state?

`State.apply` is the only mutation, the same live, replayed and on a standby. A fact that does not
fit the state is a bug and raises InvariantError with the job's story. It does not decide anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock_contracts import journal
from penstock_contracts.errors import InvariantError
from penstock_contracts.expectations import WorkloadExpected
from penstock_contracts.ids import ulid
from penstock_contracts.jobs import PLACED, SUCCEEDED, TRANSITIONS, JobSpec
from penstock_scheduler.core.folds import beginnings, endings, nodes
from penstock_scheduler.core.leases import leases_of
from penstock_scheduler.core.money import folds as money_folds
from penstock_scheduler.core.money.budgets import Budgets
from penstock_scheduler.core.orders.touches import Touches
from penstock_scheduler.core.placing.capacity import Capacity
from penstock_scheduler.core.placing.expectation import Expectation
from penstock_scheduler.core.queue import folds as queue_folds
from penstock_scheduler.core.queue.keeping import places
from penstock_scheduler.core.queue.keeping.places import Places
from penstock_scheduler.core.queue.keeping.reservations import Reservations
from penstock_scheduler.core.queue.keeping.runtimes import Runtimes
from penstock_scheduler.core.queue.line import Line
from penstock_scheduler.core.queue.order import place_of
from penstock_scheduler.core.queue.quotas.rules import SPOT, Leaf, Rules
from penstock_scheduler.core.queue.quotas.shares import Shares
from penstock_scheduler.core.resting.failing import Failing
from penstock_scheduler.core.resting.jobs import RestingJobs
from penstock_scheduler.core.shapes import owned_by, paid_from, shape_of
from penstock_scheduler.core.state import Job, Lease, LeaseId, Node, Rank, Shape


class State:
    """Everything the scheduler knows. `touches` and the caches are derived, in no snapshot.
    `payers`: jobs that are placed and for which some budget acts; `demand`: why jobs wait, as was
    said last; `heads`: by pool, who holds up all others there for a while, and since when."""

    def __init__(self, capacity: Capacity | None = None) -> None:
        self.jobs: dict[str, Job] = {}
        self.leases: dict[LeaseId, Lease] = {}
        self.nodes: dict[str, Node] = {}
        self.remembered: dict[str, str] = {}
        self.accepted = 0
        self.finished: dict[str, int] = {}
        self.order = 0
        self.fleet_changed_ns = 0
        self.forgotten_before_ms = self.forgot_ms = 0
        self.rules = Rules()
        self.shares = Shares(self.rules)
        self.line = Line(self.shares)
        self.heads: dict[str, tuple[str, int]] = {}
        self.budgets = Budgets()
        self.payers: dict[str, None] = {}
        self.demand: dict[str, int] = {}
        self.expectation = Expectation()
        self.runtimes = Runtimes()
        self.touches = Touches()
        self.places = Places(self.leases)
        self.reservations = Reservations()
        self.capacity = capacity or Capacity()
        self.capacity.places = self.places
        self.homeless: dict[str, dict[LeaseId, None]] = {}
        self.resting = RestingJobs()
        self.failing = Failing()

    # -- asked by decisions
    def digest_of(self, job_id: str) -> str | None:
        """The digest under which a job id is known, live or remembered."""
        job = self.jobs.get(job_id)
        return job.digest if job is not None else self.remembered.get(job_id)

    def begin_to_speak(self) -> None:
        """A shell takes `touches` from now on; nothing is placed on a node before `hear`."""
        self.touches.begin()
        for name, node in self.nodes.items():
            node.unheard = True
            self.capacity.update(name, node)

    def hear(self, name: str) -> bool:
        """The node holds nothing that we could give again; True when that is news."""
        node = self.nodes.get(name)
        if node is None or not node.unheard:
            return False
        node.unheard = False
        self.capacity.update(name, node)
        self.line.reconsider(node)
        return True

    # -- the one mutation door

    def apply(self, fact: journal.JobFact, seq: int, now_ns: int) -> None:
        """Folds one fact of the entry `seq`, committed at `now_ns`."""
        _FOLDS[type(fact)](self, fact, seq, now_ns)

    # -- folds, one per fact
    def _request_refused(self, fact: journal.RequestRefused, seq: int, now_ns: int) -> None:
        """Nothing of the state changes: the fact is for the requester."""

    def _job_submitted(self, fact: journal.JobSubmitted, seq: int, now_ns: int) -> None:
        job_id = fact.spec.job_id
        if self.digest_of(job_id) is not None:
            raise InvariantError(f"job {job_id} submitted twice")
        self.order += 1
        self.accepted += 1
        job = self.jobs[job_id] = Job(
            tenant=fact.tenant,
            spec=fact.spec,
            digest=fact.digest,
            order=self.order,
            submitted_ns=now_ns,
            since_ns=now_ns,
        )
        queue_folds.expect(self, job)
        self.expectation.see(self.enqueue(job))

    def _job_rejected(self, fact: journal.JobRejected, seq: int, now_ns: int) -> None:
        job = self.job_of(fact.job_id)
        self.expectation.unsee(job.shape)
        self.end(job, "rejected")

    def _lease_granted(self, fact: journal.LeaseGranted, seq: int, now_ns: int) -> None:
        job = self.job_of(fact.job_id)
        self.move(job, PLACED)
        self.line.remove(fact.job_id)
        if self.heads or job.passed:
            queue_folds.no_head(self, job)
        job.lease_seq, job.placed_ns = seq, now_ns
        job.alternative = fact.alternative
        job.ranks = [Rank(p.node, p.devices) for p in fact.ranks]
        for lease in leases_of(job, fact, seq, now_ns):
            self._take(lease, now_ns)
        places.give_up(self, fact.job_id)
        money_folds.granted(self, job, fact)

    def _rank_released(self, fact: journal.RankReleased, seq: int, now_ns: int) -> None:
        lease = self.leases.pop((fact.job_id, fact.attempt, fact.rank), None)
        if lease is None:
            raise InvariantError(f"{fact} releases what is not held")
        self.count(lease, -1, now_ns)
        self.touches.lease(lease)
        node = self.nodes.get(lease.node)
        if node is None or lease.id not in node.leases:
            self.homeless.get(lease.node, {}).pop(lease.id, None)
            return
        node.drop(lease)
        self.capacity.update(lease.node, node)
        self.line.reconsider(node)

    def _job_finished(self, fact: journal.JobFinished, seq: int, now_ns: int) -> None:
        job = self.job_of(fact.job_id)
        if fact.state not in TRANSITIONS[job.state] and not fact.lost_before:
            raise InvariantError(f"job {fact.job_id} cannot go from {job.state} to {fact.state}")
        if fact.state == SUCCEEDED:
            queue_folds.succeeded(self, job)
        self.end(job, fact.state)

    def _job_ids_forgotten(self, fact: journal.JobIdsForgotten, seq: int, now_ns: int) -> None:
        self.forgotten_before_ms, self.forgot_ms = fact.before_ms, now_ns // 1_000_000
        oldest = ulid(max(0, fact.before_ms), 0)
        for job_id in [job_id for job_id in self.remembered if job_id < oldest]:
            del self.remembered[job_id]

    def _workload_expected(self, fact: WorkloadExpected, seq: int, now_ns: int) -> None:
        self.capacity.expect(self.expectation.fold(fact))

    # -- parts
    def job_of(self, job_id: str) -> Job:
        job = self.jobs.get(job_id)
        if job is None:
            raise InvariantError(f"a fact speaks of job {job_id}, which is not live")
        return job

    def move(self, job: Job, state: str) -> None:
        if state not in TRANSITIONS[job.state]:
            raise InvariantError(f"job {job.spec.job_id} cannot go from {job.state} to {state}")
        job.state = state

    def leaf_of(self, tenant: str, spec: JobSpec) -> Leaf:
        """Where a job counts, and what it holds."""
        return self.rules.leaf_of(spec.pool, tenant, spec.project)

    def shape_of(self, job: Job) -> Shape:
        """Its shape as it stands in line, with where it counts and who pays for it."""
        return self.shape_in_line(job.tenant, job.spec, job.attempt, job.avoid)

    def shape_in_line(
        self, tenant: str, spec: JobSpec, attempt: int = 1, avoid: tuple[str, ...] = ()
    ) -> Shape:
        leaf = self.leaf_of(tenant, spec)
        shape = shape_of(spec, avoid, tenant, leaf, self.rules.claim_of(spec))
        if self.reservations:
            shape = owned_by(shape, self.reservations.owner_of(tenant, spec))
        return paid_from(shape, self.budgets.purse_of(tenant, spec, attempt))

    def enqueue(self, job: Job) -> Shape:
        """In line. Returns its shape there."""
        shape = self.shape_of(job)
        pool = self.rules.pool_named(job.spec.pool)
        self.line.add(job, shape, place_of(job, pool))
        return shape

    def count(self, lease: Lease, sign: int, now_ns: int) -> None:
        """A lease is held from now on (1), or no more (-1)."""
        gpu_milli = lease.gpu_milli * len(lease.uuids)
        leaf = self.leaf_of(lease.tenant, lease.spec)
        self.shares.hold(leaf, sign * gpu_milli, sign * lease.cpu_milli, now_ns)
        if lease.spec.tier == SPOT:
            self.shares.spot_leases += sign

    def wait(self, job: Job) -> None:
        """In line, or at rest for as long as it is to rest."""
        if job.rests_until_ns is None:
            self.enqueue(job)
        else:
            self.resting.add(job, job.rests_until_ns)

    def end(self, job: Job, state: str) -> None:
        job_id = job.spec.job_id
        self.end_leases(job)
        self.line.remove(job_id)
        if self.heads:
            queue_folds.no_head(self, job)
        places.give_up(self, job_id)
        self.resting.discard(job)
        self.payers.pop(job_id, None)
        del self.jobs[job_id]
        self.remembered[job_id] = job.digest
        self.finished[state] = self.finished.get(state, 0) + 1

    def end_leases(self, job: Job) -> None:
        """What the ended attempt still holds is to end, if it has not."""
        for lease in self.leases_of(job):
            lease.stop_reason = lease.stop_reason or "ended"
            self.touches.lease(lease)

    def leases_of(self, job: Job) -> list[Lease]:
        """What the job's current attempt still holds."""
        ids = ((job.spec.job_id, job.attempt, rank) for rank in range(len(job.ranks)))
        return [self.leases[i] for i in ids if i in self.leases]

    def restore_lease(self, lease: Lease, now_ns: int = 0) -> None:
        """Puts back a lease of a snapshot; its node may have been removed since the grant."""
        self.leases[lease.id] = lease
        self.count(lease, 1, now_ns)
        node = self.nodes.get(lease.node)
        if node is None:
            self.homeless.setdefault(lease.node, {})[lease.id] = None
            return
        node.hold(lease)
        self.capacity.update(lease.node, node)

    def _take(self, lease: Lease, now_ns: int) -> None:
        node = self.nodes.get(lease.node)
        if node is None:
            raise InvariantError(f"lease {lease.id} on unknown node {lease.node}")
        self.restore_lease(lease, now_ns)
        if min(node.free, default=0) < 0 or node.cpu_free < 0 or node.memory_free < 0:
            raise InvariantError(f"node {lease.node} is over-committed by lease {lease.id}")
        self.touches.lease(lease)


_FOLDS: dict[type, Callable[[State, Any, int, int], None]] = {
    journal.RequestRefused: State._request_refused,
    journal.JobSubmitted: State._job_submitted,
    journal.JobRejected: State._job_rejected,
    journal.LeaseGranted: State._lease_granted,
    journal.AttemptPreparing: beginnings.attempt_preparing,
    journal.RankPrepared: beginnings.rank_prepared,
    journal.GangReady: beginnings.gang_ready,
    journal.RankStarted: beginnings.rank_started,
    journal.AttemptRunning: beginnings.attempt_running,
    journal.RankExited: endings.rank_exited,
    journal.RankReleased: State._rank_released,
    journal.StopRequested: endings.stop_requested,
    journal.CancelRequested: endings.cancel_requested,
    journal.AttemptEnded: endings.attempt_ended,
    journal.JobsWoken: endings.jobs_woken,
    journal.JobFinished: State._job_finished,
    journal.NodeImaged: nodes.node_imaged,
    journal.NodeForgotten: nodes.node_forgotten,
    journal.JobIdsForgotten: State._job_ids_forgotten,
    WorkloadExpected: State._workload_expected,
    journal.LeasesPaid: money_folds.leases_paid,
    journal.BudgetNoted: money_folds.budget_noted,
    journal.RatesNoted: money_folds.rates_noted,
    journal.DemandNoted: money_folds.demand_noted,
    journal.PolicySet: queue_folds.policy_set,
    journal.PlaceKept: places.place_kept,
    journal.PlaceGivenUp: places.place_given_up,
    journal.HeadHeld: queue_folds.head_held,
    journal.HeadPassed: queue_folds.head_passed,
    journal.StartsExpected: queue_folds.starts_expected,
}
