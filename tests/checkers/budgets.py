"""Was no budget that stops work ever passed, and did nothing run longer than was paid for?

What was set aside is added up from the journal; what really ran is measured on each host's own boot
time. It does not know prices, nor how the scheduler reckons.
"""

from __future__ import annotations

from penstock_contracts.budgets import GPU_TIME, STOP
from penstock_contracts.journal import JobFinished
from tests.checkers.history import History, Run, Violation
from tests.checkers.leases import facts_of
from tests.checkers.payments import Paid, Payments, fold_payments, follow_payments

MS_NS = 1_000_000
ENDING_NS = 2_000_000_000
"""Within this before the end of its paid time work is asked and made to end."""
HELPLESS = ("reaper frozen", "host suspended", "host disk slow")
"""While this is done to a host, nobody there can end anything."""
HELPLESS_AFTER_NS = 30_000_000_000
"""How long after such a time a last wait for the disk may go on."""


def check_budgets(history: History) -> list[Violation]:
    """Every millisecond that ran unpaid, and every promise of more than there was."""
    payments = fold_payments(history)
    found = _overdrawn(history, _run_away(history, payments))
    found += _unpaid(history, payments)
    found += _passed(history, payments)
    found += _said(history)
    found += _ended_for_nothing(history, payments)
    return found


def _run_away(history: History, payments: Payments) -> set[str]:
    """Tenants of work that nobody could end in time: what they owe for it counts as spent."""
    found = set()
    for run in history.runs:
        paid = payments.attempts.get((run.job_id, run.attempt))
        if paid is None or paid.paid_ms is None or run.ended_boot_ns is None:
            continue
        if run.ended_boot_ns - run.began_boot_ns > paid.paid_ms * MS_NS:
            found.add(run.tenant)
    return found


def _overdrawn(history: History, run_away: set[str]) -> list[Violation]:
    """More set aside and spent together than the budget is. Of a credit nothing is spent beyond
    what was set aside, whatever runs on."""
    found: dict[str, Violation] = {}
    for at_ns, payments in follow_payments(history):
        for budget_id, purse in payments.purses.items():
            committed = purse.state.spent + purse.open
            owed = purse.state.tenant in run_away and not purse.state.prepaid
            bound = purse.state.acts == STOP and not purse.late and not owed
            if bound and committed > purse.limit and budget_id not in found:
                found[budget_id] = Violation(
                    code="budget_overdrawn",
                    sentence=f"of budget {budget_id} {purse.state.spent} is spent and {purse.open} "
                    f"set aside, it is {purse.limit}",
                    at_ns=at_ns,
                )
    return list(found.values())


def _unpaid(history: History, payments: Payments) -> list[Violation]:
    """Work that ran on though its host could have ended it. What began before it had to be paid for
    is ended by an order, whenever that arrives."""
    found = []
    for run in history.runs:
        paid = payments.attempts.get((run.job_id, run.attempt))
        if paid is None or paid.paid_ms is None or run.ended_boot_ns is None or not paid.always:
            continue
        ran_ns = run.ended_boot_ns - run.began_boot_ns
        over_ns = ran_ns - paid.paid_ms * MS_NS
        if over_ns > 0 and not _helpless(history, run, over_ns):
            found.append(_on(run, "ran_unpaid", paid, ran_ns))
    return found


def _helpless(history: History, run: Run, over_ns: int) -> bool:
    """Whether nobody could end it in time: its reaper was dead, or stood still."""
    if not run.waited or run.ended_ns is None:
        return True
    due_ns = run.ended_ns - over_ns - ENDING_NS
    for fault in history.faults:
        if fault.node == run.node and fault.kind in HELPLESS and fault.at_ns < run.ended_ns:
            until_ns = fault.until_ns
            if until_ns is None or until_ns + HELPLESS_AFTER_NS > due_ns:
                return True
    return False


def _passed(history: History, payments: Payments) -> list[Violation]:
    """What really ran, up to what was paid of it, is within what was set aside and all of it within
    the budget: counted from the programs, not from anybody's sums."""
    used: dict[str, int] = {}
    of_attempt: dict[tuple[str, int], int] = {}
    for run in history.runs:
        paid = payments.attempts.get((run.job_id, run.attempt))
        if paid is None or paid.paid_ms is None or run.ended_boot_ns is None:
            continue
        ran_ms = min((run.ended_boot_ns - run.began_boot_ns) // MS_NS, paid.paid_ms)
        attempt = (run.job_id, run.attempt)
        of_attempt[attempt] = of_attempt.get(attempt, 0) + ran_ms * _milli(run)
    found = []
    for attempt, milli_ms in of_attempt.items():
        for budget_id in payments.attempts[attempt].reserved:
            purse = payments.purses.get(budget_id)
            if purse is not None and purse.state.unit == GPU_TIME and not purse.state.period:
                used[budget_id] = used.get(budget_id, 0) + milli_ms
    for budget_id, milli_ms in sorted(used.items()):
        purse = payments.purses[budget_id]
        most = payments.ever[budget_id]
        if purse.state.acts == STOP and not purse.late and milli_ms > most:
            sentence = f"{milli_ms} of budget {budget_id} really ran, it was never above {most}"
            found.append(Violation(code="budget_passed", sentence=sentence))
    return found


def _milli(run: Run) -> int:
    return run.gpu_milli * len(run.devices)


def _said(history: History) -> list[Violation]:
    """What the ledger says is never more than what there is."""
    found = []
    for said in history.budgets_said:
        state = said.state
        if state.prepaid and state.spent > state.limit:
            sentence = f"{state.spent} of {state.budget_id} is spent, {state.limit} was paid in"
            found.append(Violation(code="credit_below_zero", sentence=sentence, at_ns=said.at_ns))
    return found


def _ended_for_nothing(history: History, payments: Payments) -> list[Violation]:
    """Who fails for lack of money had somebody who counted it."""
    found = []
    for at_ns, _, fact in facts_of(history.jobs_entries):
        if isinstance(fact, JobFinished) and fact.state == "failed" and fact.reason == "budget":
            paid = payments.attempts.get((fact.job_id, fact.attempt))
            if paid is None or (paid.paid_ms is None and fact.tenant not in payments.counted):
                sentence = f"job {fact.job_id} failed for lack of money, which nobody counted"
                found.append(
                    Violation(
                        code="ended_for_nothing",
                        sentence=sentence,
                        job_id=fact.job_id,
                        at_ns=at_ns,
                    )
                )
    return found


def _on(run: Run, code: str, paid: Paid, ran_ns: int) -> Violation:
    return Violation(
        code=code,
        sentence=f"rank {run.rank} of attempt {run.attempt} of job {run.job_id} ran "
        f"{ran_ns / MS_NS:g} ms, {paid.paid_ms} ms were paid for",
        job_id=run.job_id,
        node=run.node,
        at_ns=run.began_ns,
    )
