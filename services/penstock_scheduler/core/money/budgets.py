"""How much is left of each budget?

What the ledger has said was spent, and what is reserved for attempts that it has not settled: of a
budget that stops work both together never pass the limit, whoever is away. It does not know what
anything costs, nor who gets what is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from penstock_contracts.bounds import BIGINT_MAX
from penstock_contracts.budgets import END_PREEMPTIBLE, GPU_TIME, STOP, WARN, BudgetState
from penstock_contracts.jobs import JobSpec
from penstock_contracts.prices import PriceVersion
from penstock_scheduler.core.money.purse import Purse

START_MS_MIN = 10_000
"""Beside its grace period: work that would be stopped sooner is not begun."""
AHEAD_MS_MIN = 120_000
AHEAD_MS_MAX = 3_600_000
"""So far ahead work is paid for, at least and at most: the scheduler may be away that long."""
AHEAD_SLACK_S = 30
PIECE_MS = 120_000
"""More is reserved in pieces of this."""


class Hold(msgspec.Struct):
    """What is reserved for one attempt, all since its grant, and how much of it is in `spent`.
    `since`: the entry that began it."""

    reserved: int
    settled: int = 0
    since: int = 0

    @property
    def open(self) -> int:
        """May still be spent."""
        return max(0, self.reserved - self.settled)

    @property
    def is_partly_spent(self) -> bool:
        return self.settled > 0


class Budget(msgspec.Struct, kw_only=True):
    """One budget. `limit`: what may be spent and reserved together; `state.limit` is what is asked
    for. `held`: the open parts of all holds; `partly_spent`: how many are settled in part."""

    state: BudgetState
    limit: int
    holds: dict[str, Hold] = {}
    held: int = 0
    partly_spent: int = 0

    @property
    def left(self) -> int:
        return self.limit - self.committed

    @property
    def committed(self) -> int:
        """The most that is spent once all that is reserved is used up."""
        return self.state.spent + self.held + _rounding(self.state, self.partly_spent)

    @property
    def stops(self) -> bool:
        return self.state.acts == STOP

    @property
    def used_up(self) -> bool:
        return self.state.spent >= self.limit

    def reserve(self, key: str, amount: int, seq: int) -> None:
        """`amount`: all since the grant; it never becomes less. `seq`: who says it."""
        hold = self.holds.get(key)
        if hold is None:
            hold = self.holds[key] = Hold(0, since=seq)
        self._count(hold, -1)
        hold.reserved = max(hold.reserved, amount)
        self._count(hold, 1)

    def note(self, state: BudgetState) -> None:
        """Takes over what the ledger says, but for the limit."""
        self.state = msgspec.structs.replace(state, settled={}, over=(), full=False)
        for key, amount in state.settled.items():
            hold = self.holds.get(key)
            if hold is not None:
                self._count(hold, -1)
                hold.settled = max(hold.settled, amount)
                self._count(hold, 1)
        for key in self._over(state):
            self._count(self.holds.pop(key), -1)

    def limit_after(self, state: BudgetState) -> int:
        """The limit once `state` is noted: what was promised before stands. Changes nothing."""
        held, partly_spent = self.held, self.partly_spent
        over = set(self._over(state))
        for key in {**dict.fromkeys(state.settled), **dict.fromkeys(over)}:
            hold = self.holds.get(key)
            if hold is None:
                continue
            held -= hold.open
            partly_spent -= hold.is_partly_spent
            if key not in over:
                then = Hold(hold.reserved, max(hold.settled, state.settled[key]))
                held += then.open
                partly_spent += then.is_partly_spent
        promised = state.spent + held
        if promised <= state.limit:
            return state.limit
        return promised + _rounding(state, partly_spent)

    def _count(self, hold: Hold, sign: int) -> None:
        self.held += sign * hold.open
        self.partly_spent += sign * hold.is_partly_spent

    def _over(self, state: BudgetState) -> list[str]:
        """The holds that a state ends."""
        over = [key for key in dict.fromkeys(state.over) if key in self.holds]
        if state.full:
            ended = {*over, *state.settled}
            read_to = state.jobs_seq
            over += [k for k, h in self.holds.items() if k not in ended and h.since <= read_to]
        return over


def _rounding(state: BudgetState, partly_spent: int) -> int:
    """What has been spent of an attempt so far is told rounded up, and so is the sum of all: it may
    still grow by less than one for each, while what is open of it stays the same."""
    return 0 if state.unit == GPU_TIME or state.prepaid else partly_spent


class Kept(msgspec.Struct, kw_only=True):
    """All of it, as a snapshot holds it."""

    budgets: list[Budget] = []
    number: int = 0
    rates: tuple[PriceVersion, ...] = ()
    rates_number: int = 0


class Budgets:
    """`number`: of the newest message of the ledger that is folded."""

    def __init__(self, kept: Kept | None = None) -> None:
        kept = kept or Kept()
        self.number = kept.number
        self.rates = kept.rates
        self.rates_number = kept.rates_number
        self._next_rate_ms = 0
        self.by_id: dict[str, Budget] = {}
        self._of_tenant: dict[str, dict[str, Budget]] = {}
        for budget in kept.budgets:
            self._put(budget)

    def keep(self) -> Kept:
        return Kept(
            budgets=list(self.by_id.values()),
            number=self.number,
            rates=self.rates,
            rates_number=self.rates_number,
        )

    # -- asked by decisions
    def of(self, tenant: str, project: str) -> list[Budget]:
        """Those that count what the tenant's project uses, in the order of their ids."""
        found = self._of_tenant.get(tenant)
        if not found:
            return []
        return [b for _, b in sorted(found.items()) if b.state.project in ("", project)]

    def acting(self, tenant: str, project: str) -> list[Budget]:
        """Of these, those that do more than warn."""
        return [b for b in self.of(tenant, project) if b.state.acts != WARN]

    def acting_of(self, tenant: str) -> tuple[tuple[str, str, str], ...]:
        """(id, project, act) of all that do more than warn, whatever project they are for."""
        states = (budget.state for budget in self._of_tenant.get(tenant, {}).values())
        return tuple(sorted((s.budget_id, s.project, s.acts) for s in states if s.acts != WARN))

    def purse_of(self, tenant: str, spec: JobSpec, attempt: int) -> Purse | None:
        """Who pays for a job; None while nothing bounds what its tenant may use."""
        if tenant not in self._of_tenant:
            return None
        found = self.acting(tenant, spec.project)
        if not found:
            return None
        capped = any(budget.stops for budget in found)
        start = start_ms(spec, attempt) if capped else 0
        return Purse(tenant, spec.project, spec.tier, start, capped)

    def look(self, now_ms: int) -> bool:
        """Time has passed; True when another price may hold since this was told last."""
        if now_ms < self._next_rate_ms:
            return False
        later = (rate.effective_from_ms for rate in self.rates if rate.effective_from_ms > now_ms)
        self._next_rate_ms = min(later, default=BIGINT_MAX)
        return True

    # -- folds
    def note(self, state: BudgetState, limit: int) -> None:
        self.number = max(self.number, state.number)
        budget = self.by_id.get(state.budget_id)
        if budget is not None and budget.state.tenant != state.tenant:
            self._drop(budget)
            budget = None
        if state.gone:
            if budget is not None:
                self._drop(budget)
            return
        if budget is None:
            budget = Budget(state=state, limit=limit)
            self._put(budget)
        budget.note(state)
        budget.limit = limit

    def note_rates(self, number: int, versions: tuple[PriceVersion, ...]) -> None:
        self.number = max(self.number, number)
        self.rates, self.rates_number = versions, number
        self._next_rate_ms = 0

    def reserve(self, key: str, reserved: Mapping[str, int], seq: int) -> None:
        """A budget that is gone holds nothing."""
        for budget_id, amount in reserved.items():
            budget = self.by_id.get(budget_id)
            if budget is not None:
                budget.reserve(key, amount, seq)

    def _put(self, budget: Budget) -> None:
        self.by_id[budget.state.budget_id] = budget
        mine = self._of_tenant.setdefault(budget.state.tenant, {})
        mine[budget.state.budget_id] = budget

    def _drop(self, budget: Budget) -> None:
        del self.by_id[budget.state.budget_id]
        mine = self._of_tenant[budget.state.tenant]
        del mine[budget.state.budget_id]
        if not mine:
            del self._of_tenant[budget.state.tenant]


def ahead_ms(spec: JobSpec) -> int:
    """So much running time is paid for ahead: a job that may be without contact for a while is not
    to run out of it meanwhile."""
    alone_s = (spec.disconnect_s or 0) + spec.grace_s + AHEAD_SLACK_S
    return min(AHEAD_MS_MAX, max(AHEAD_MS_MIN, alone_s * 1000))


def need_ms(spec: JobSpec) -> int | None:
    """It cannot run longer than that; None = nothing bounds it."""
    if spec.time_limit_s is None:
        return None
    return (spec.time_limit_s + spec.grace_s + AHEAD_SLACK_S) * 1000


def full_ms(spec: JobSpec) -> int:
    """What is reserved to begin with, where there is enough."""
    first = ahead_ms(spec) + PIECE_MS
    need = need_ms(spec)
    return first if need is None else min(first, need)


def start_ms(spec: JobSpec, attempt: int) -> int:
    """The least with which it begins. A second attempt is not begun for a moment's work: it would
    go in circles with whatever comes in."""
    if attempt > 1:
        return full_ms(spec)
    return min(full_ms(spec), spec.grace_s * 1000 + START_MS_MIN)


def refuses(budgets: Iterable[Budget]) -> Budget | None:
    """The first that is used up: nothing new begins."""
    return next((b for b in budgets if (b.left <= 0 if b.stops else b.used_up)), None)


def ends_preemptible(budgets: Iterable[Budget]) -> Budget | None:
    """The first for which work of tier `spot` is to end."""
    found = (b for b in budgets if b.state.acts == END_PREEMPTIBLE and b.used_up)
    return next(found, None)
