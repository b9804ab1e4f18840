"""Do the checkers see money that is missing, doubled or promised twice?"""

from __future__ import annotations

from typing import Any

import pytest

from penstock_contracts.allowances import BudgetNoted
from penstock_contracts.journal import LeaseGranted
from tests.checkers.books import BudgetSaid, MoneyOrder
from tests.checkers.budgets import check_budgets
from tests.checkers.charges import check_charges
from tests.checkers.history import Fault, History
from tests.checkers.money import check_money
from tests.checkers.money_builders import (
    BUDGET,
    CREDIT,
    LIMIT,
    PAID_MS,
    a_paid_history,
    a_state,
    codes_after,
)
from tests.checkers.tampering import Tamper, edit_fact, replace
from tests.checkers.verdict import judge

SECOND_NS = 1_000_000_000


def row(table: str, place: int, **changes: Any) -> Tamper:
    def tamper(history: History) -> None:
        if history.books is None:
            raise ValueError("no books")
        history.books.of(table)[place].update(changes)

    return tamper


def without(table: str) -> Tamper:
    def tamper(history: History) -> None:
        if history.books is None:
            raise ValueError("no books")
        del history.books.of(table)[0]

    return tamper


def told(**fields: Any) -> Tamper:
    order: dict[str, Any] = {"at_ns": 1, "what": "set_price", "key": "K", **fields}
    return lambda history: history.money_orders.append(MoneyOrder(**order))


def _not_derivable(history: History) -> None:
    if history.books is not None:
        history.books.rebuilt = ("rated",)


def test_a_paid_history_breaks_nothing() -> None:
    assert judge(a_paid_history()) == {}


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (row("postings", 0, amount_micro=71), "not_balanced"),
        (row("postings", 4, amount_micro=-19), "posted_otherwise"),
        (row("invoice_lines", 0, amount_micro=70), "lines_do_not_sum"),
        (row("rated", 0, quantity=1), "rated_otherwise"),
        (row("usage_days", 0, billed_quantity=1), "rollup_differs"),
        (row("device_sales", 0, billed_quantity=1), "rollup_differs"),
        (without("rated"), "rated_otherwise"),
        (without("commands_done"), "order_lost"),
        (told(told="invalid_field", key="01ARZ3NDEKTSV4RRFFQ69G5FAV"), "order_answered_twice"),
        (row("commands_done", 0, key="OTHER"), "order_of_nobody"),
        (_not_derivable, "not_derivable"),
    ],
)
def test_what_does_not_sum_is_found(tamper: Tamper, code: str) -> None:
    assert code in codes_after(check_money, tamper)


def test_an_order_that_nobody_heard_of_again_may_be_done_or_not() -> None:
    assert codes_after(check_money, told(told="")) == set()


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (row("budget_grants", 0, charged=PAID_MS * 1_000 + 1), "charged_beyond"),
        (row("budget_grants", 0, charged=1), "charged_otherwise"),
        (row("budget_accounts", 1, spent=1), "balance_otherwise"),
        (row("price_versions", 0, micro=3_600_001), "charged_otherwise"),
    ],
)
def test_a_charge_that_is_not_what_was_used_is_found(tamper: Tamper, code: str) -> None:
    assert codes_after(check_charges, tamper) == {code}


def test_use_beyond_what_was_set_aside_is_nobodys_charge() -> None:
    def tamper(history: History) -> None:
        edit_fact(history, LeaseGranted, lambda g: (replace(g, reserved={BUDGET: 5}),))
        row("budget_grants", 0, charged=5)(history)
        row("budget_grants", 1, charged=0)(history)
        if history.books is not None:
            spent = sum(own["charged"] for own in history.books.of("budget_grants")[1::2])
            row("budget_accounts", 1, spent=spent)(history)

    assert codes_after(check_charges, tamper) == set()


def _paid_less(history: History) -> None:
    edit_fact(history, LeaseGranted, lambda grant: (replace(grant, paid_ms=89_000),))


def _limit(limit: int) -> Tamper:
    def tamper(history: History) -> None:
        edit_fact(
            history,
            BudgetNoted,
            lambda noted: (replace(noted, state=replace(noted.state, limit=limit)),),
        )

    return tamper


def _below_zero(history: History) -> None:
    said = BudgetSaid(at_ns=5, state=a_state(CREDIT, spent=LIMIT + 1))
    history.budgets_said.append(said)


@pytest.mark.parametrize(
    ("tamper", "codes"),
    [
        (_paid_less, {"ran_unpaid"}),
        (_limit(460_000_000), {"budget_overdrawn"}),
        (_limit(89_000_000), {"budget_overdrawn", "budget_passed"}),
        (_below_zero, {"credit_below_zero"}),
    ],
)
def test_a_budget_that_is_passed_is_found(tamper: Tamper, codes: set[str]) -> None:
    assert codes_after(check_budgets, tamper) == codes


def test_nobody_could_end_work_whose_reaper_was_dead_or_stood_still() -> None:
    def dead(history: History) -> None:
        _paid_less(history)
        history.runs[0].waited = False

    def frozen(history: History) -> None:
        _paid_less(history)
        run = history.runs[0]
        until_ns = (run.ended_ns or 0) - SECOND_NS
        history.faults.append(
            Fault(at_ns=run.began_ns, kind="reaper frozen", node=run.node, until_ns=until_ns)
        )

    assert codes_after(check_budgets, dead) == codes_after(check_budgets, frozen) == set()
