"""How do facts about the queue change the state?

Part of `fold`. It does not decide anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock_contracts.jobs import QUEUED
from penstock_contracts.journal import HeadHeld, HeadPassed, PolicySet, StartsExpected
from penstock_contracts.queue_policy import PolicyVersion
from penstock_scheduler.core.folds.nodes import put_in_pool
from penstock_scheduler.core.queue.keeping import places
from penstock_scheduler.core.queue.keeping.reservations import Reservations
from penstock_scheduler.core.queue.line import Line
from penstock_scheduler.core.queue.quotas.rules import Rules
from penstock_scheduler.core.queue.quotas.shares import Shares
from penstock_scheduler.core.state import Job

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State


def policy_set(state: State, fact: PolicySet, seq: int, now_ns: int) -> None:
    """Nodes, leases and jobs count where the new policy has them; use stays with the quotas that
    are named as before."""
    version = PolicyVersion(fact.version, fact.policy, fact.set_ms)
    rules = Rules(version, (*state.rules.keys, fact.key))
    places.clear(state)
    obey(state, rules, Shares(rules, state.shares.keep_at(now_ns), now_ns))
    state.reservations.look(now_ns // 1_000_000)
    for lease in state.leases.values():
        state.count(lease, 1, now_ns)
    for job in state.jobs.values():
        job.passed = False
        if job.state == QUEUED and job.spec.job_id not in state.resting:
            state.enqueue(job)


def obey(state: State, rules: Rules, shares: Shares) -> None:
    """From now on these rules hold; nothing is counted yet."""
    state.rules, state.shares = rules, shares
    state.line = Line(shares)
    state.heads.clear()
    state.reservations = Reservations(rules.held.policy.reservations)
    state.capacity.reservations = state.reservations
    for name, node in state.nodes.items():
        put_in_pool(state, node)
        state.capacity.update(name, node)


def head_held(state: State, fact: HeadHeld, seq: int, now_ns: int) -> None:
    state.heads[fact.pool] = (fact.job_id, now_ns)


def head_passed(state: State, fact: HeadPassed, seq: int, now_ns: int) -> None:
    state.heads.pop(fact.pool, None)
    job = state.jobs.get(fact.job_id)
    if job is not None:
        job.passed = True
        state.line.turns.go_on(fact.pool)


def expect(state: State, job: Job) -> None:
    """How long it is expected to run decides where it comes into line; what it has saved of its
    work is not done again."""
    expected_ms = state.runtimes.bound_ms(job.spec)
    if state.rules.policy.predicts:
        expected_ms = state.runtimes.expected_ms(job.spec, job.tenant, job.saved_ms)
    job.expected_ms = None if expected_ms is None else max(0, expected_ms - job.saved_ms)


def succeeded(state: State, job: Job) -> None:
    """How long its work took, over all attempts of which something was saved, teaches what others
    like it will take."""
    ends_ms = [rank.exited.at_ms for rank in job.ranks if rank.exited is not None]
    if job.started_ms is not None and ends_ms:
        took_ms = job.saved_ms + max(0, max(ends_ms) - job.started_ms)
        state.runtimes.learn(job.spec.resolved(job.alternative), job.tenant, took_ms)


def no_head(state: State, job: Job) -> None:
    """The job waits no more, so nobody waits for it."""
    job.passed = False
    for pool, (job_id, _) in list(state.heads.items()):
        if job_id == job.spec.job_id:
            del state.heads[pool]


def starts_expected(state: State, fact: StartsExpected, seq: int, now_ns: int) -> None:
    """Kept with each that still waits, to be compared with what comes."""
    for start in fact.starts:
        job = state.jobs.get(start.job_id)
        if job is not None and job.attempt == start.attempt and job.state == QUEUED:
            job.expected_start_ms, job.estimated_ms = start.start_ms, now_ns // 1_000_000
