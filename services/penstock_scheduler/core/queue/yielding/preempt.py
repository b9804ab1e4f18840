"""Who begins in whose place?

Once a tick, for those who wait and may have others yield: an exact placement in the fleet as it
would be without them proves that they suffice before anybody is asked to end, and what becomes free
is kept for whom it was taken for. A round is bounded; who finds nothing is looked at again when
something has changed. It does not know how work is ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from penstock_contracts.jobs import QUEUED
from penstock_contracts.journal import (
    AttemptRunning,
    BudgetNoted,
    JobFact,
    LeaseGranted,
    NodeForgotten,
    NodeImaged,
    PolicySet,
    RankReleased,
    StopRequested,
)
from penstock_contracts.leases import PREEMPTED
from penstock_contracts.queue_facts import PREEMPTION, KeptRank, PlaceGivenUp, PlaceKept
from penstock_contracts.queue_policy import Pool
from penstock_scheduler.core.money.budgets import refuses
from penstock_scheduler.core.money.paying import deal_of
from penstock_scheduler.core.placing.placement import Placed
from penstock_scheduler.core.queue.keeping.bounds import END_MARGIN_S
from penstock_scheduler.core.queue.quotas.shares import ask_of
from penstock_scheduler.core.queue.yielding.evictions import Eviction, evict
from penstock_scheduler.core.queue.yielding.victims import Standing, Wants
from penstock_scheduler.core.shapes import Shape, choices_of
from penstock_scheduler.core.state import Job

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State

LOOKED_AT_MAX = 1_000
"""Waiting jobs of a pool that one round looks at."""
PLANS_MAX = 32
"""Of them so many are tried in the fleet as it would be, found to fit or not."""
AWAITS_MAX = 1_024
REST_NS_FIRST, REST_NS_MAX = 4_000_000_000, 60_000_000_000
"""Who finds nothing and has no guarantee looks again after so long, twice as long each time."""
FAILED_MAX = 10_000
MATTERS = frozenset(
    {
        AttemptRunning,
        BudgetNoted,
        LeaseGranted,
        NodeForgotten,
        NodeImaged,
        PlaceGivenUp,
        PlaceKept,
        PolicySet,
        RankReleased,
        StopRequested,
    }
)
IN_TURN = ("fifo", "hold")
"""Orders in which only who is first may have others yield."""


class Failure(NamedTuple):
    """When it was found that nobody's going would do, and for how long that is believed."""

    changes: int
    at_ns: int
    rest_ns: int


class Rounds:
    """`begin` one at a tick, then `decide` as long as that says something. Between rounds nothing
    is remembered but what could not be done and would be no other way now: a cache."""

    def __init__(self) -> None:
        self._due = False
        self._waiting: Iterator[tuple[Job, Shape]] | None = None
        self._standing: Standing | None = None
        self._plans = 0
        self._failed: dict[Shape, Failure] = {}
        self._changes = 0

    def begin(self) -> None:
        """A round is due."""
        self._due, self._waiting, self._standing, self._plans = True, None, None, 0
        if len(self._failed) > FAILED_MAX:
            self._failed.clear()

    def note(self, fact: JobFact) -> None:
        """It has been folded: who found nothing may find something now."""
        if type(fact) in MATTERS:
            self._changes += 1

    def decide(self, state: State, now_ns: int) -> Sequence[JobFact]:
        """The next job that begins in the place of others; nothing when the round is over."""
        if not self._due:
            return ()
        if self._waiting is None:
            self._waiting = _claimants(state, now_ns)
        for job, shape in self._waiting:
            if self._plans >= PLANS_MAX:
                break
            facts = self._plan(state, job, shape, now_ns)
            if facts:
                return facts
        self._due, self._waiting, self._standing = False, None, None
        return ()

    def _plan(self, state: State, job: Job, shape: Shape, now_ns: int) -> Sequence[JobFact]:
        if not _may_begin(state, job, shape) or self._would_fail(state, shape, now_ns):
            return ()
        if self._standing is None:
            self._standing = Standing(state, now_ns)
        standing = self._standing
        for alternative, option in enumerate(choices_of(shape)):
            wants = standing.wants(job, option)
            if not _may_claim(state, job, wants, standing):
                continue
            self._plans += 1
            eviction = evict(state, job, option, wants, standing)
            if eviction is None:
                continue
            placed = Placed(alternative, eviction.ranks)
            if deal_of(state, job, shape, placed, now_ns) is None:
                continue
            standing.promise(wants.leaf, wants.ask)
            standing.yields(eviction.victims)
            standing.settle(rank.node for rank in eviction.ranks)
            return _facts(job, alternative, eviction, now_ns)
        failed = self._failed.get(shape)
        rest_ns = REST_NS_FIRST if failed is None else min(2 * failed.rest_ns, REST_NS_MAX)
        self._failed[shape] = Failure(self._changes, now_ns, rest_ns)
        return ()

    def _would_fail(self, state: State, shape: Shape, now_ns: int) -> bool:
        """Whether nothing has changed since; or who has no guarantee is not to look again yet."""
        failed = self._failed.get(shape)
        if failed is None:
            return False
        if failed.changes == self._changes:
            return True
        is_early = now_ns < failed.at_ns + failed.rest_ns
        return is_early and not (shape.leaf and state.shares.entitled(shape.leaf, ask_of(shape)))


def _claimants(state: State, now_ns: int) -> Iterator[tuple[Job, Shape]]:
    """Waiting jobs that may have a claim, next first; decided by what costs nothing to know."""
    for pool in state.rules.pools:
        if not _has_claims(state, pool):
            continue
        for at, (job_id, shape) in enumerate(state.line.in_order(pool.name, now_ns, every=True)):
            if at >= LOOKED_AT_MAX:
                break
            if _is_claim(state, pool, shape):
                yield state.jobs[job_id], shape
            if pool.order in IN_TURN:
                break


def _has_claims(state: State, pool: Pool) -> bool:
    """Whether anybody in the pool could have others yield."""
    if pool.preempt == "none":
        return False
    if pool.preempt == "all" or state.shares.spot_leases:
        return True
    names, rules = state.rules.pool_of_quota, state.rules
    return any(names[q.name] == pool.name for q in rules.quotas.values() if q.guaranteed_gpu_milli)


def _is_claim(state: State, pool: Pool, shape: Shape) -> bool:
    if shape.claim < 0 or shape.leaf is None:
        return False
    if shape.claim or state.shares.spot_leases:
        return True
    return any(account.guaranteed for account in state.shares.path(shape.leaf))


def _may_begin(state: State, job: Job, shape: Shape) -> bool:
    """Whether it still waits, has no place that was taken for it already, and can be paid for."""
    if job.state != QUEUED or job.spec.job_id not in state.line:
        return False
    if state.places.is_promised(job.spec.job_id):
        return False
    purse = shape.purse
    return purse is None or refuses(state.budgets.acting(purse.tenant, purse.project)) is None


def _may_claim(state: State, job: Job, wants: Wants, standing: Standing) -> bool:
    """Whether there is anybody who would yield, or a place to be had."""
    return wants.guarantor is not None or any(True for _ in standing.candidates(wants))


def _facts(job: Job, alternative: int, eviction: Eviction, now_ns: int) -> Sequence[JobFact]:
    """What is kept, for whom it is not kept any more, and who is asked to end."""
    graces_s = [one.job.spec.grace_s for one in eviction.victims]
    at_ms = now_ns // 1_000_000 + 1000 * (END_MARGIN_S + max(graces_s, default=0))
    given_up = [
        PlaceGivenUp(job_id, f"it is taken back for {job.spec.job_id}")
        for job_id in eviction.given_up
    ]
    kept = PlaceKept(
        job.spec.job_id,
        tuple(KeptRank(one.rank, one.node, one.devices) for one in eviction.ranks),
        at_ms,
        PREEMPTION,
        alternative,
        tuple(one.job_id for one in eviction.victims),
        eviction.awaits[:AWAITS_MAX],
    )
    stops = [StopRequested(one.job_id, one.job.attempt, PREEMPTED) for one in eviction.victims]
    return (*given_up, kept, *stops)
