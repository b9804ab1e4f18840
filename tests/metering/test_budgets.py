"""Is what is spent of a budget counted once, and told in order?"""

from __future__ import annotations

from typing import Any

import pytest

from metering.conftest import Ledger
from metering.money import GPU_HOUR, HOUR_MS, USD, Money, name_of
from metering.world import START_MS
from penstock_contracts.budgets import (
    BudgetState,
    Rates,
)
from penstock_contracts.errors import Refusal
from penstock_contracts.journal import LeasePaid, LeasesPaid
from penstock_contracts.prices import PriceVersion
from penstock_metering.budgets.accounts import LATE_MS, ROLL_MARGIN_MS
from penstock_metering.budgets.outbox import raise_number
from penstock_metering.budgets.telling import announce
from penstock_metering.core.months import month_bounds_ms, month_of
from penstock_metering.rating.price_book import add_versions


@pytest.fixture
def money(ledger: Ledger) -> Money:
    return Money(ledger)


def test_without_a_budget_nothing_is_said(money: Money) -> None:
    money.world.a_run("n1", money.devices[:1])
    assert money.told() == []


def test_a_budget_counts_what_ran_in_its_period_before_it_was_set(money: Money) -> None:
    money.world.a_run("n1", money.devices[:2], for_ms=HOUR_MS, tenant="acme", project="vision")
    money.world.a_run("n1", money.devices[:1], for_ms=HOUR_MS, tenant="acme")
    money.world.a_run("n1", money.devices[:1], for_ms=HOUR_MS, tenant="other")
    money.world.agents["n1"].send()
    money.budget()
    money.budget(budget_id="v", project="vision", acts="refuse")
    rates, all_of_it, vision = money.told()
    assert isinstance(rates, Rates)
    assert [version.sku for version in rates.versions] == ["gpu", "cpu"]
    assert isinstance(all_of_it, BudgetState)
    assert isinstance(vision, BudgetState)
    assert (all_of_it.spent, all_of_it.limit) == (3 * GPU_HOUR, 10 * GPU_HOUR)
    assert all_of_it.period == month_of(START_MS)
    assert (vision.spent, vision.project, vision.acts) == (2 * GPU_HOUR, "vision", "refuse")
    assert money.told() == []


def test_what_an_attempt_costs_beyond_what_was_reserved_is_not_spent_of_money(money: Money) -> None:
    money.budget(unit="micro", currency="USD", limit=5 * USD)
    job = money.begin({"b": USD})
    money.world.pass_ms(HOUR_MS)
    money.end(job)
    (state,) = money.states()
    assert (state.spent, state.over) == (USD, (name_of(job),))
    view = money.view()
    assert (view.spent, view.excess) == (USD, USD)


def test_an_attempt_is_settled_as_it_runs_and_over_when_all_of_it_is_there(money: Money) -> None:
    money.budget()
    money.told()
    job = money.begin({"b": 600_000_000})
    money.world.pass_ms(60_000)
    money.world.cut(job)
    money.world.agents["n1"].send()
    (state,) = money.states()
    assert (state.spent, state.settled, state.over) == (60_000_000, {name_of(job): 60_000_000}, ())
    assert money.view().reserved == 540_000_000
    money.world.pass_ms(10_000)
    money.end(job)
    (state,) = money.states()
    assert (state.spent, state.settled, state.over) == (70_000_000, {}, (name_of(job),))
    assert money.view().reserved == 0


def test_an_attempt_is_not_over_before_its_last_segment_is_there(money: Money) -> None:
    money.budget()
    job = money.begin({"b": 600_000_000})
    money.world.pass_ms(10_000)
    money.world.exit(job)
    money.world.release(job)
    money.world.finish(job)
    (state,) = money.states()
    assert (state.spent, state.over) == (0, ())
    assert money.view().reserved == 600_000_000
    money.world.agents["n1"].send()
    (state,) = money.states()
    assert (state.spent, state.over) == (10_000_000, (name_of(job),))


def test_a_host_that_never_tells_holds_back_what_was_reserved_for_a_day(money: Money) -> None:
    money.budget(per="total")
    job = money.begin({"b": 600_000_000})
    money.world.fence(job)
    money.told()
    money.world.pass_ms(LATE_MS - 1)
    assert money.states() == []
    money.world.pass_ms(1)
    (state,) = money.states()
    assert state.over == (name_of(job),)


def test_what_is_reserved_later_is_known(money: Money) -> None:
    money.budget()
    job = money.begin({"b": 60_000_000})
    paid = LeasePaid(job.job_id, job.attempt, 120_000, {"b": 120_000_000})
    money.world.journal("JOBS", LeasesPaid((paid,)))
    money.told()
    assert money.view().reserved == 120_000_000


def test_a_month_begins_anew_once_its_clocks_have_passed_it(money: Money) -> None:
    money.budget()
    money.world.a_run("n1", money.devices[:1], for_ms=HOUR_MS, tenant="acme")
    money.world.agents["n1"].send()
    assert money.states()[-1].spent == GPU_HOUR
    _, end_ms = month_bounds_ms(month_of(START_MS))
    money.world.now_ms = end_ms + ROLL_MARGIN_MS - 1
    assert money.states() == []
    money.world.pass_ms(1)
    (state,) = money.states()
    assert (state.period, state.spent) == (month_of(end_ms), 0)


def test_use_of_one_attempt_counts_in_the_months_it_was_in(money: Money) -> None:
    money.budget()
    _, end_ms = month_bounds_ms(month_of(START_MS))
    money.world.now_ms = end_ms - 60_000
    job = money.begin({"b": 600_000_000})
    money.world.pass_ms(60_000 + 90_000)
    money.world.cut(job)
    money.world.agents["n1"].send()
    money.world.pass_ms(ROLL_MARGIN_MS)
    state = money.states()[-1]
    assert (state.spent, state.settled) == (90_000_000, {name_of(job): 150_000_000})


def test_a_new_writer_says_everything_again_under_numbers_of_its_own(money: Money) -> None:
    money.budget()
    job = money.begin({"b": 600_000_000})
    money.told()
    money.change(lambda c: raise_number(c, 1_000))
    money.change(lambda c: announce(c, money.world.now_ms))
    rates, state = money.told()
    assert rates.number == 1_001
    assert isinstance(state, BudgetState)
    assert state.full
    assert state.settled == {name_of(job): 0}
    assert state.jobs_seq == len(money.world.streams["JOBS"])


def test_what_is_removed_is_said_to_be_gone_and_may_come_back(money: Money) -> None:
    money.budget()
    job = money.begin({"b": 600_000_000})
    money.told()
    money.budget(limit=None)
    (gone,) = money.states()
    assert gone.gone
    money.budget(limit=5)
    paid = LeasePaid(job.job_id, job.attempt, None, {"b": 5})
    money.world.journal("JOBS", LeasesPaid((paid,)))
    money.told()
    assert money.view().reserved == 5


def test_a_price_that_is_set_is_told_once(money: Money) -> None:
    money.budget()
    money.told()
    price = PriceVersion(
        sku="gpu", version=99, effective_from_ms=START_MS, unit="gpu_hour", micro=9
    )
    money.change(lambda c: add_versions(c, [price], START_MS))
    (rates,) = money.told()
    assert isinstance(rates, Rates)
    assert 99 in [version.version for version in rates.versions]
    assert money.told() == []


def test_a_threshold_that_is_reached_is_noted_once_a_period(money: Money) -> None:
    money.budget(limit=2 * GPU_HOUR, warn_percent=(50, 90))
    money.world.a_run("n1", money.devices[:1], for_ms=HOUR_MS, tenant="acme")
    money.world.agents["n1"].send()
    money.told()
    assert money.view().warned_percent == 50
    money.world.a_run("n1", money.devices[:1], for_ms=HOUR_MS, tenant="acme")
    money.world.agents["n1"].send()
    money.told()
    assert money.view().warned_percent == 90


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"budget_id": "credit-x"}, "invalid_field"),
        ({"unit": "micro", "currency": ""}, "invalid_field"),
        ({"limit": None, "budget_id": "none"}, "not_found"),
        ({"tenant": "other"}, "name_taken"),
        ({"unit": "micro"}, "contradiction"),
    ],
)
def test_what_makes_no_sense_is_refused(money: Money, fields: dict[str, Any], code: str) -> None:
    money.budget()
    refused = money.budget(**fields)
    assert isinstance(refused, Refusal)
    assert refused.code == code
