"""What is said to whoever cannot pay?

Why a job is not taken, and why one that waits is not begun, in words. It does not decide who is
paid for.
"""

from __future__ import annotations

from penstock_contracts.budgets import GPU_TIME
from penstock_contracts.errors import Refusal
from penstock_contracts.jobs import JobSpec
from penstock_contracts.prices import MS_PER_HOUR
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.money.budgets import Budget, full_ms, refuses, start_ms
from penstock_scheduler.core.money.charges import charge_anywhere
from penstock_scheduler.core.state import Job

MILLI_MS_PER_GPU_HOUR = 1_000 * MS_PER_HOUR
MICRO = 1_000_000


def not_admitted(state: State, tenant: str, spec: JobSpec) -> Refusal | None:
    """Why a new job is not even to wait: a budget that acts is used up, or it could run on without
    anybody to say that its credit is."""
    acting = state.budgets.acting(tenant, spec.project)
    for budget in acting:
        if budget.used_up:
            sentence = f"{_name(budget)} is used up: {_spent(budget)}"
            return Refusal("over_budget", sentence)
    if spec.disconnect_s is None and any(budget.state.prepaid for budget in acting):
        sentence = (
            "work that is paid in advance needs a disconnect_s: how long it may go on without "
            "contact to the mesh"
        )
        return Refusal("prepaid_needs_disconnect", sentence, "disconnect_s")
    return None


def why_unpaid(state: State, job: Job, now_ns: int) -> str | None:
    """Why nobody can pay for a job that waits; None when somebody can."""
    acting = state.budgets.acting(job.tenant, job.spec.project)
    refusing = refuses(acting)
    if refusing is not None:
        return f"{_name(refusing)} has {_left(refusing)}"
    stops = [budget for budget in acting if budget.stops]
    shape = job.shape
    options = [
        charge_anywhere(state, job, option, now_ns) for option in (shape, *shape.alternatives)
    ]
    if stops and not any(charge.payable_from(stops) for charge in options):
        currencies = " and ".join(sorted({b.state.currency for b in stops if b.state.prepaid}))
        return f"it costs something in another currency than the credit, which is in {currencies}"
    least_ms = min(start_ms(job.spec, job.attempt), full_ms(job.spec))
    for budget in stops:
        needed = min(charge.amount(budget, least_ms) for charge in options)
        if needed > budget.left:
            return (
                f"{_name(budget)} has {_left(budget)}, and it takes "
                f"{amount_in_words(budget, needed)} to begin"
            )
    return None


def _name(budget: Budget) -> str:
    if budget.state.prepaid:
        return f"the prepaid credit of {budget.state.tenant}"
    project = f"/{budget.state.project}" if budget.state.project else ""
    period = f" for {budget.state.period}" if budget.state.period else ""
    return f"budget {budget.state.budget_id} of {budget.state.tenant}{project}{period}"


def _spent(budget: Budget) -> str:
    limit = amount_in_words(budget, budget.state.limit)
    return f"{amount_in_words(budget, budget.state.spent)} of {limit} are spent"


def _left(budget: Budget) -> str:
    left = amount_in_words(budget, max(0, budget.left))
    held = ""
    if budget.held:
        held = f" ({amount_in_words(budget, budget.held)} are set aside for work that runs)"
    return f"{left} left of {amount_in_words(budget, budget.state.limit)}{held}"


def amount_in_words(budget: Budget, amount: int) -> str:
    """`0.3 GPU-h`, `12.5 USD`: as many digits as it takes to tell it from nothing."""
    if budget.state.unit == GPU_TIME:
        return f"{_decimal(amount, MILLI_MS_PER_GPU_HOUR)} GPU-h"
    return f"{_decimal(amount, MICRO)} {budget.state.currency}"


def _decimal(amount: int, one: int) -> str:
    """Rounded down: what is shown as left is there."""
    if 0 < amount < one // 100:
        return f"{amount * 1_000_000 // one / 1_000_000:.6f}".rstrip("0").rstrip(".")
    return f"{amount * 1_000 // one / 1_000:.3f}".rstrip("0").rstrip(".")
