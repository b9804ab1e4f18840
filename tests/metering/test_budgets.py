"""Is what is spent of a budget counted once, told in order, and credit never given twice?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest
import sqlalchemy as sa

from metering.conftest import Ledger
from metering.world import START_MS, Job, World
from penstock_contracts.budgets import (
    AddCredit,
    BudgetFact,
    BudgetsQuery,
    BudgetState,
    BudgetView,
    CreditsQuery,
    CreditsView,
    Rates,
    SetBudget,
    grant_key,
)
from penstock_contracts.errors import Refusal
from penstock_contracts.ids import ulid
from penstock_contracts.journal import BudgetNoted, LeaseGranted, LeasePaid, LeasesPaid
from penstock_contracts.prices import PriceVersion
from penstock_metering.budget_accounts import LATE_MS, ROLL_MARGIN_MS, step
from penstock_metering.budget_book import (
    add_credit,
    look_up_budgets,
    look_up_credits,
    paid_in,
    set_budget,
)
from penstock_metering.budget_outbox import forget, raise_number, waiting
from penstock_metering.budget_telling import announce
from penstock_metering.core.months import month_bounds_ms, month_of
from penstock_metering.price_book import add_versions

T = TypeVar("T")
HOUR_MS = 3_600_000
GPU_HOUR = 1_000 * HOUR_MS
USD = 1_000_000
CREDIT = "credit-USD-acme"
_decode = msgspec.json.Decoder(BudgetFact).decode


class Money:
    """A ledger with a mesh that reports to it, and an ear for what the scheduler is told."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.world = World()
        self.devices = self.world.a_node(gpus=8).devices
        self.keys = 0

    def change(self, work: Callable[[sa.Connection], T]) -> T:
        return self.ledger.ingest.change(work)

    def key(self) -> str:
        self.keys += 1
        return ulid(START_MS, self.keys)

    def budget(self, **fields: Any) -> Any:
        fields = {
            "budget_id": "b", "tenant": "acme", "unit": "gpu_milli_ms", "acts": "stop",
            "limit": 10 * GPU_HOUR, **fields,
        }  # fmt: skip
        wish = SetBudget(key=self.key(), **fields)
        return self.change(lambda c: set_budget(c, wish, self.world.now_ms))

    def credit(self, amount_micro: int) -> CreditsView | Refusal:
        wish = AddCredit(key=self.key(), tenant="acme", amount_micro=amount_micro)
        return self.change(lambda c: add_credit(c, wish, self.world.now_ms))

    def told(self) -> list[BudgetFact]:
        """Everything read, settled and sent."""
        self.ledger.take_all(self.world)
        while self.change(lambda c: step(c, self.world.now_ms)):
            pass
        messages = self.change(waiting)
        self.change(lambda c: forget(c, 1 << 60))
        facts = [_decode(payload) for _, _, payload in messages]
        assert [fact.number for fact in facts] == [number for number, _, _ in messages]
        return facts

    def states(self) -> list[BudgetState]:
        return [fact for fact in self.told() if isinstance(fact, BudgetState)]

    def view(self, budget_id: str = "b") -> BudgetView:
        found = self.change(lambda c: look_up_budgets(c, BudgetsQuery(), 0)).budgets
        return next(view for view in found if view.budget_id == budget_id)

    def begin(self, reserved: dict[str, int], paid_ms: int = 600_000, **fields: Any) -> Job:
        """A job of one GPU that runs, as far as that much is paid for."""
        job = self.world.submit("acme", **fields)
        self.world.grant(job, ("n1", self.devices[:1]))
        granted = LeaseGranted(
            job.job_id, job.attempt, job.placement, paid_ms=paid_ms, reserved=reserved
        )
        self.world.streams["JOBS"].pop()
        assert self.world.journal("JOBS", granted) == job.lease_seq
        self.world.start(job)
        return job

    def end(self, job: Job) -> None:
        self.world.exit(job)
        self.world.release(job)
        self.world.finish(job, "failed")
        self.world.agents["n1"].send()


@pytest.fixture
def money(ledger: Ledger) -> Money:
    return Money(ledger)


def name_of(job: Job) -> str:
    return grant_key(job.lease_seq, job.job_id)


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
