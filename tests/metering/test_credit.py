"""Does prepaid credit pay for what was promised and no more, and is it never given back twice?"""

from __future__ import annotations

import pytest

from metering.conftest import Ledger
from metering.money import CREDIT, HOUR_MS, USD, Money
from penstock_contracts.budgets import (
    CreditsQuery,
    CreditsView,
)
from penstock_contracts.errors import Refusal
from penstock_contracts.journal import BudgetNoted
from penstock_metering.budgets.book import (
    look_up_credits,
    paid_in,
)


@pytest.fixture
def money(ledger: Ledger) -> Money:
    return Money(ledger)


def test_credit_pays_no_more_than_was_reserved_and_the_rest_is_the_providers(money: Money) -> None:
    money.credit(5 * USD)
    job = money.begin({CREDIT: USD}, disconnect_s=60)
    money.world.pass_ms(HOUR_MS)
    money.end(job)
    (state,) = money.states()
    assert (state.prepaid, state.limit, state.spent) == (True, 5 * USD, USD)
    view = money.view(CREDIT)
    assert (view.spent, view.excess, view.limit) == (USD, USD, 5 * USD)


def test_credit_is_not_charged_for_what_ran_before_there_was_any(money: Money) -> None:
    money.world.a_run("n1", money.devices[:1], for_ms=HOUR_MS, tenant="acme")
    money.world.agents["n1"].send()
    money.credit(5 * USD)
    (state,) = money.states()
    assert (state.spent, state.limit) == (0, 5 * USD)


def test_a_withdrawal_is_asked_for_and_goes_out_when_the_scheduler_has_agreed(money: Money) -> None:
    money.credit(5 * USD)
    money.told()
    asked = money.credit(-2 * USD)
    assert isinstance(asked, CreditsView)
    assert (asked.entries[0].state, asked.entries[0].amount_micro) == ("asked", 0)
    (state,) = money.states()
    assert state.limit == 3 * USD
    assert money.change(paid_in) == {("acme", "USD"): 5 * USD}
    money.world.journal("JOBS", BudgetNoted(state, 3 * USD))
    assert money.states()[-1].limit == 3 * USD
    view = money.change(lambda c: look_up_credits(c, CreditsQuery("acme"), 0))
    assert (view.entries[0].state, view.entries[0].amount_micro) == ("done", -2 * USD)
    assert money.change(paid_in) == {("acme", "USD"): 3 * USD}


def test_of_a_withdrawal_goes_out_only_what_nobody_was_promised_meanwhile(money: Money) -> None:
    money.credit(5 * USD)
    money.told()
    money.credit(-5 * USD)
    (state,) = money.states()
    money.world.journal("JOBS", BudgetNoted(state, 4 * USD))
    money.told()
    assert money.change(paid_in) == {("acme", "USD"): 4 * USD}
    assert money.view(CREDIT).limit == 4 * USD


def test_an_answer_to_something_older_agrees_to_nothing(money: Money) -> None:
    money.credit(5 * USD)
    (before,) = money.states()
    money.credit(-5 * USD)
    money.world.journal("JOBS", BudgetNoted(before, 5 * USD))
    money.told()
    assert money.change(paid_in) == {("acme", "USD"): 5 * USD}


def test_what_is_reserved_or_spent_cannot_be_withdrawn(money: Money) -> None:
    money.credit(5 * USD)
    money.begin({CREDIT: 4 * USD}, disconnect_s=60)
    money.told()
    refused = money.credit(-2 * USD)
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.field) == ("no_credit", "amount_micro")
    money.credit(-USD)
    again = money.credit(-USD)
    assert isinstance(again, Refusal)
    assert again.code == "withdrawal_open"
