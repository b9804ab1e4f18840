"""For how long may a job run on what is left?

Reserves the most that its running time can cost of every budget that stops work: before it is
granted, and more ahead of time while it runs. What nobody can pay for is not begun, and what can be
paid for no longer is asked to end. It does not know where a job fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from penstock_contracts.bounds import BIGINT_MAX
from penstock_contracts.budgets import STOP, BudgetFact, Rates, grant_key
from penstock_contracts.journal import (
    BudgetNoted,
    JobFact,
    LeasePaid,
    LeasesPaid,
    RatesNoted,
    StopRequested,
)
from penstock_scheduler.core.conclusions import BUDGET, SPOT
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.money.budgets import (
    PIECE_MS,
    Budget,
    ahead_ms,
    ends_preemptible,
    full_ms,
    need_ms,
    refuses,
)
from penstock_scheduler.core.money.charges import Charge, charge_of_job, charge_of_placing
from penstock_scheduler.core.placing.placement import Placed
from penstock_scheduler.core.state import Job, Lease, Shape

GAIN_MS_MIN = 10_000
"""Less than that is not worth an entry, unless it is all that is needed."""
STEP_MS = 1_000
PAID_IN_FACT_MAX = 1_000


class Deal(NamedTuple):
    """`paid_ms` None: nothing bounds it."""

    paid_ms: int | None = None
    reserved: dict[str, int] = {}


FREE = Deal()


def decide_heard(state: State, fact: BudgetFact) -> list[JobFact]:
    """What the ledger says, unless something newer was heard. What was promised stands: a limit
    that is lowered falls no deeper than what is spent and reserved."""
    budgets = state.budgets
    if fact.number <= budgets.number:
        return []
    if isinstance(fact, Rates):
        return [RatesNoted(fact)]
    known = budgets.by_id.get(fact.budget_id)
    limit = fact.limit
    if fact.acts == STOP:
        is_same = known is not None and known.state.tenant == fact.tenant
        before = known if known is not None and is_same else Budget(state=fact, limit=limit)
        limit = before.limit_after(fact)
    return [BudgetNoted(fact, min(limit, BIGINT_MAX))]


def deal_of(state: State, job: Job, shape: Shape, placed: Placed, now_ns: int) -> Deal | None:
    """What is reserved so that a job may begin where it fits; None = nobody can pay for it."""
    stops = stops_of(state, shape)
    if not stops:
        return None if stops is None else FREE
    charge = charge_of_placing(state, job, shape, placed, now_ns)
    return deal_for(stops, job, shape, placed.alternative, charge)


def stops_of(state: State, shape: Shape) -> list[Budget] | None:
    """The budgets that pay for such a job and stop it; None = one is used up."""
    purse = shape.purse
    if purse is None:
        return []
    acting = state.budgets.acting(purse.tenant, purse.project)
    if refuses(acting) is not None:
        return None
    return [budget for budget in acting if budget.stops]


def deal_for(
    stops: Sequence[Budget], job: Job, shape: Shape, alternative: int, charge: Charge
) -> Deal | None:
    """What is reserved of these for one of its alternatives at that charge; None = too little is
    left."""
    if shape.purse is None or not charge.payable_from(stops):
        return None
    spec = job.spec.resolved(alternative)
    left = {budget.state.budget_id: budget.left for budget in stops}
    wanted_ms = full_ms(spec)
    least_ms = min(shape.purse.start_ms, wanted_ms)
    paid_ms = _most_ms(stops, charge, left, dict.fromkeys(left, 0), least_ms, wanted_ms)
    if paid_ms is None:
        return None
    return Deal(paid_ms, {b.state.budget_id: charge.amount(b, paid_ms) for b in stops})


def _most_ms(
    stops: Sequence[Budget],
    charge: Charge,
    left: dict[str, int],
    held_ms: dict[str, int],
    least_ms: int,
    wanted_ms: int,
) -> int | None:
    """The most running time from `least_ms` to `wanted_ms` that can be paid for in all; None = not
    even that. `held_ms`: for how much each budget has reserved already."""

    def fits(ms: int) -> bool:
        return all(
            charge.amount(b, ms) - charge.amount(b, held_ms[b.state.budget_id])
            <= left[b.state.budget_id]
            for b in stops
        )

    if fits(wanted_ms):
        return wanted_ms
    if not fits(least_ms):
        return None
    low, high = 0, (wanted_ms - least_ms) // STEP_MS
    while low < high:
        middle = (low + high + 1) // 2
        if fits(least_ms + middle * STEP_MS):
            low = middle
        else:
            high = middle - 1
    return least_ms + low * STEP_MS


def decide_payers(state: State, now_ns: int) -> list[JobFact]:
    """Pays ahead for what runs; asks that to end which cannot go on."""
    facts: list[JobFact] = []
    paid: list[LeasePaid] = []
    left: dict[str, int] = {}
    for job_id in state.payers:
        job = state.jobs[job_id]
        leases = state.leases_of(job)
        if job.stop_reason or not leases:
            continue
        acting = state.budgets.acting(job.tenant, job.spec.project)
        if job.spec.tier == SPOT and ends_preemptible(acting) is not None:
            facts.append(StopRequested(job_id, job.attempt, BUDGET))
            continue
        stops = [budget for budget in acting if budget.stops]
        for budget in stops:
            left.setdefault(budget.state.budget_id, budget.left)
        found = _go_on(state, job, leases[0], stops, left, now_ns)
        if isinstance(found, LeasePaid):
            paid.append(found)
        elif found is not None:
            facts.append(found)
    for begin in range(0, len(paid), PAID_IN_FACT_MAX):
        facts.append(LeasesPaid(tuple(paid[begin : begin + PAID_IN_FACT_MAX])))
    return facts


def _go_on(
    state: State,
    job: Job,
    lease: Lease,
    stops: list[Budget],
    left: dict[str, int],
    now_ns: int,
) -> LeasePaid | StopRequested | None:
    """`left` of each budget is lessened by what this takes."""
    job_id, key = job.spec.job_id, grant_key(job.lease_seq, job.spec.job_id)
    if not stops:
        return LeasePaid(job_id, job.attempt) if lease.paid_ms is not None else None
    spec, now_ms = lease.spec, now_ns // 1_000_000
    ran_ms = 0 if job.started_ms is None else max(0, now_ms - job.started_ms)
    paid_ms = lease.paid_ms or 0
    new = [budget for budget in stops if key not in budget.holds]
    need = need_ms(spec)
    enough = paid_ms - ran_ms >= ahead_ms(spec) or (need is not None and paid_ms >= need)
    if not new and (enough or job.started_ms is None):
        return None
    wanted_ms = ran_ms + ahead_ms(spec) + PIECE_MS
    wanted_ms = max(paid_ms, wanted_ms if need is None else min(wanted_ms, need))
    charge = charge_of_job(state, job, lease.granted_ns if new else now_ns)
    if not charge.payable_from(stops):
        return _end_when_due(job, lease, ran_ms, paid_ms)
    held_ms = {b.state.budget_id: 0 if b in new else paid_ms for b in stops}
    least_ms = max(paid_ms, min(ran_ms, wanted_ms)) if new else paid_ms
    most_ms = _most_ms(stops, charge, left, held_ms, least_ms, wanted_ms)
    if most_ms is None:
        return StopRequested(job_id, job.attempt, BUDGET)
    if not new and most_ms < wanted_ms and most_ms - paid_ms < GAIN_MS_MIN:
        return _end_when_due(job, lease, ran_ms, paid_ms)
    reserved = {}
    for budget in stops:
        budget_id = budget.state.budget_id
        more = charge.amount(budget, most_ms) - charge.amount(budget, held_ms[budget_id])
        held = budget.holds.get(key)
        left[budget_id] -= more
        reserved[budget_id] = more + (held.reserved if held is not None else 0)
    return LeasePaid(job_id, job.attempt, most_ms, reserved)


def _end_when_due(job: Job, lease: Lease, ran_ms: int, paid_ms: int) -> StopRequested | None:
    """Its host ends it by itself; but one that began before it had to be paid for does not."""
    if ran_ms >= paid_ms - lease.spec.grace_s * 1000:
        return StopRequested(job.spec.job_id, job.attempt, BUDGET)
    return None
