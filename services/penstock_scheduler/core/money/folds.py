"""How do facts about money change the state?

Part of `fold`. It does not decide anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock_contracts.budgets import grant_key
from penstock_contracts.jobs import QUEUED
from penstock_contracts.journal import (
    BudgetNoted,
    DemandNoted,
    LeaseGranted,
    LeasesPaid,
    RatesNoted,
)
from penstock_scheduler.core.state import Job

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State


def granted(state: State, job: Job, fact: LeaseGranted) -> None:
    """What was reserved with the grant is held until the ledger has settled it."""
    if fact.reserved:
        state.budgets.reserve(grant_key(job.lease_seq, fact.job_id), fact.reserved, job.lease_seq)
        state.line.turns.pay_anew(job.tenant)
    if state.budgets.acting(job.tenant, job.spec.project):
        state.payers[fact.job_id] = None


def leases_paid(state: State, fact: LeasesPaid, seq: int, now_ns: int) -> None:
    for paid in fact.leases:
        job = state.jobs.get(paid.job_id)
        if job is None or job.attempt != paid.attempt or not job.lease_seq:
            continue
        state.budgets.reserve(grant_key(job.lease_seq, paid.job_id), paid.reserved, seq)
        state.line.turns.pay_anew(job.tenant)
        for lease in state.leases_of(job):
            lease.paid_ms = paid.paid_ms
            state.touches.lease(lease)


def budget_noted(state: State, fact: BudgetNoted, seq: int, now_ns: int) -> None:
    budgets, known = state.budgets, state.budgets.by_id.get(fact.state.budget_id)
    tenants = {fact.state.tenant, known.state.tenant if known is not None else fact.state.tenant}
    before = {tenant: budgets.acting_of(tenant) for tenant in sorted(tenants)}
    budgets.note(fact.state, fact.limit)
    for tenant, acting in before.items():
        if acting != budgets.acting_of(tenant):
            pay_anew(state, tenant)
        state.line.reconsider_unpaid(tenant)


def pay_anew(state: State, tenant: str) -> None:
    """Other budgets act for the tenant than before."""
    for job_id, job in state.jobs.items():
        if job.tenant != tenant or job_id in state.resting:
            continue
        if job.state == QUEUED:
            state.line.remove(job_id)
            state.enqueue(job)
        else:
            find_payer(state, job)


def find_payer(state: State, job: Job) -> None:
    """Whether a placed job is looked after; one whose cap is still to be lifted is."""
    if job.lease_seq and state.budgets.acting(job.tenant, job.spec.project):
        state.payers[job.spec.job_id] = None
    elif all(lease.paid_ms is None for lease in state.leases_of(job)):
        state.payers.pop(job.spec.job_id, None)


def rates_noted(state: State, fact: RatesNoted, seq: int, now_ns: int) -> None:
    state.budgets.note_rates(fact.rates.number, fact.rates.versions)
    state.line.reconsider_all_unpaid()


def demand_noted(state: State, fact: DemandNoted, seq: int, now_ns: int) -> None:
    state.demand = dict(fact.blocked)
