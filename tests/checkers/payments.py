"""What was set aside and paid for, according to the JOBS journal?

Folds what it says of money: budgets as they were noted, what each attempt had reserved of them, how
long it might run. It takes every fact as it stands and judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from penstock_contracts.allowances import BudgetNoted, LeasesPaid
from penstock_contracts.budgets import GPU_TIME, STOP, BudgetState, grant_key
from penstock_contracts.journal import LeaseGranted
from tests.checkers.history import History
from tests.checkers.leases import facts_of

AttemptId = tuple[str, int]
"""(job id, attempt)."""


class Paid(msgspec.Struct, kw_only=True):
    """For how long every rank of an attempt may run (None = for ever), and what of which budgets
    was set aside for it, since its grant. `always`: its host has known a bound from the first."""

    key: str
    paid_ms: int | None
    reserved: dict[str, int]
    always: bool = True


class Purse(msgspec.Struct, kw_only=True):
    """One budget: what it may come to, and of each attempt how much was reserved and settled.
    `late`: work that it counts was granted before it was there, or stopped work: nothing was set
    aside for that. `limit`: what was asked for, or, since that was lowered, promised before."""

    state: BudgetState
    limit: int
    late: bool = False
    reserved: dict[str, int] = {}
    settled: dict[str, int] = {}

    @property
    def open(self) -> int:
        """What may still be spent of what was set aside."""
        return sum(
            max(0, amount - self.settled.get(key, 0)) for key, amount in self.reserved.items()
        )

    @property
    def rounding(self) -> int:
        """The sum of what was spent of attempts is rounded up once, each for itself: the sum may
        grow by less than one for each while what is told of it stays the same."""
        if self.state.unit == GPU_TIME or self.state.prepaid:
            return 0
        return sum(1 for key in self.reserved if self.settled.get(key, 0))

    def note(self, state: BudgetState) -> None:
        promised = min(self.limit, self.state.spent + self.open + self.rounding)
        self.state, self.limit = state, max(state.limit, promised)
        for key, amount in state.settled.items():
            self.settled[key] = max(amount, self.settled.get(key, 0))
        over = list(state.over)
        if state.full:
            before = [k for k in self.reserved if int(k.split("/")[0]) <= state.jobs_seq]
            over += [key for key in before if key not in state.settled]
        for key in over:
            self.reserved.pop(key, None)
            self.settled.pop(key, None)


class Payments(msgspec.Struct, kw_only=True):
    """By budget id, and by attempt. `ever`: the highest limit that a budget ever had. `counted`:
    tenants who ever had one. `working`: (tenant, project) of all that was ever granted."""

    purses: dict[str, Purse] = {}
    attempts: dict[AttemptId, Paid] = {}
    ever: dict[str, int] = {}
    counted: set[str] = set()
    working: set[tuple[str, str]] = set()


def fold_payments(history: History) -> Payments:
    """What they are in the end."""
    payments = Payments()
    for _, payments in follow_payments(history):  # noqa: B007 - the last is wanted
        pass
    return payments


def follow_payments(history: History) -> Iterator[tuple[int, Payments]]:
    """(world time, what they are) after each fact about money; the same object every time."""
    payments = Payments()
    for at_ns, seq, fact in facts_of(history.jobs_entries):
        if isinstance(fact, BudgetNoted):
            _note(payments, fact)
        elif isinstance(fact, LeaseGranted):
            key = grant_key(seq, fact.job_id)
            bounded = fact.paid_ms is not None
            paid = Paid(key=key, paid_ms=fact.paid_ms, reserved=dict(fact.reserved), always=bounded)
            payments.attempts[fact.job_id, fact.attempt] = paid
            payments.working.add((fact.tenant, fact.project))
            _reserve(payments, paid)
        elif isinstance(fact, LeasesPaid):
            for more in fact.leases:
                held = payments.attempts.get((more.job_id, more.attempt))
                if held is not None:
                    held.paid_ms = more.paid_ms
                    held.always &= more.paid_ms is not None
                    held.reserved |= more.reserved
                    _reserve(payments, held)
        else:
            continue
        yield at_ns, payments


def _note(payments: Payments, fact: BudgetNoted) -> None:
    state = fact.state
    payments.counted.add(state.tenant)
    purse = payments.purses.get(state.budget_id)
    if state.gone:
        payments.purses.pop(state.budget_id, None)
        return
    if purse is None or _what_counts(purse.state) != _what_counts(state):
        purse = Purse(state=state, limit=state.limit)
        payments.purses[state.budget_id] = purse
        purse.late = _has_work(payments, state)
    purse.late |= purse.state.acts != STOP and _has_work(payments, state)
    purse.note(state)
    ever = payments.ever.get(state.budget_id, 0)
    payments.ever[state.budget_id] = max(ever, state.limit)


def _what_counts(state: BudgetState) -> tuple[str, str, str, str, bool]:
    """A budget that counts something else is another one: a month's, or that of all time."""
    return state.tenant, state.project, state.unit, state.currency, bool(state.period)


def _has_work(payments: Payments, state: BudgetState) -> bool:
    return any(
        tenant == state.tenant and state.project in ("", project)
        for tenant, project in payments.working
    )


def _reserve(payments: Payments, paid: Paid) -> None:
    for budget_id, amount in paid.reserved.items():
        purse = payments.purses.get(budget_id)
        if purse is not None:
            purse.reserved[paid.key] = max(amount, purse.reserved.get(paid.key, 0))
