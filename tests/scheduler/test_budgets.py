"""Is what a budget holds never passed, and is that said?"""

from __future__ import annotations

import pytest

from penstock_contracts.journal import (
    DemandNoted,
    RequestRefused,
)
from penstock_contracts.leases import Exited, Released
from penstock_contracts.nodes import NodeRegistered
from penstock_scheduler.core.events import JobsRequested, NodeChanged
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.orders.desired import orders_of
from penstock_scheduler.core.telling.views import findings
from tests.scheduler.driver import a_job, a_node
from tests.scheduler.money import GPU_HOUR, USD, Ledger, a_paying_node, a_price, of


def test_a_job_without_a_budget_runs_as_long_as_it_likes() -> None:
    ledger = Ledger()
    job = a_job(gpus=1)
    ledger.submit(job)
    (grant,) = ledger.grants()
    assert (grant.paid_ms, grant.reserved) == (None, {})
    assert (
        orders_of(ledger.core.state, "n1")[next(iter(orders_of(ledger.core.state, "n1")))].paid_ms
        is None
    )


def test_running_time_is_reserved_before_the_grant_and_the_order_says_for_how_long() -> None:
    ledger = Ledger()
    ledger.budget(limit=10 * GPU_HOUR)
    job = a_job(gpus=2, project="vision", tier="spot")
    ledger.submit(job)
    (grant,) = ledger.grants()
    assert (grant.project, grant.tier) == ("vision", "spot")
    assert grant.paid_ms == 240_000
    assert grant.reserved == {"b": 2_000 * 240_000}
    (order,) = orders_of(ledger.core.state, "n1").values()
    assert order.paid_ms == 240_000
    assert findings(ledger.core.state) == []


def test_a_job_with_a_time_limit_reserves_no_more_than_it_can_use() -> None:
    ledger = Ledger()
    ledger.budget(limit=10 * GPU_HOUR)
    ledger.submit(a_job(gpus=1, time_limit_s=20, grace_s=1))
    (grant,) = ledger.grants()
    assert grant.paid_ms == (20 + 1 + 30) * 1000


def test_who_may_be_without_contact_is_paid_for_that_long_ahead() -> None:
    ledger = Ledger()
    ledger.budget(limit=10 * GPU_HOUR)
    ledger.submit(a_job(gpus=1, disconnect_s=600, grace_s=10))
    assert ledger.grants()[0].paid_ms == 640_000 + 120_000


@pytest.mark.lesson(4)
def test_what_is_left_is_shared_until_it_is_too_little_to_begin_with() -> None:
    ledger = Ledger()
    ledger.budget(limit=300 * 1_000_000)  # 300 s of one GPU
    first, second, third = (a_job(n, gpus=1) for n in (1, 2, 3))
    ledger.submit(first, second, third)
    assert [grant.paid_ms for grant in ledger.grants()] == [240_000, 60_000]
    assert third.job_id in ledger.core.state.jobs
    assert "has 0 GPU-h left of 0.083 GPU-h (0.083 GPU-h are set aside" in ledger.why(third)
    assert findings(ledger.core.state) == []


def test_a_job_that_nobody_can_pay_for_holds_up_nobody_else() -> None:
    ledger = Ledger()
    ledger.budget(limit=0)
    poor, other = a_job(1, gpus=1, priority=9), a_job(2, gpus=1)
    refused = ledger.submit(poor)
    assert of(RequestRefused, refused)[0].items[0].refusal.code == "over_budget"
    ledger.budget(limit=5_000_000)
    ledger.submit(poor)
    assert ledger.grants() == []
    assert "takes 0.005555 GPU-h to begin" in ledger.why(poor)
    ledger.submit(other, tenant="rich")
    assert [grant.job_id for grant in ledger.grants()] == [other.job_id]
    ledger.budget(limit=GPU_HOUR)
    assert [grant.job_id for grant in ledger.grants()] == [other.job_id, poor.job_id]


def test_a_full_account_ends_what_it_does_not_name_up_to_where_it_has_read() -> None:
    ledger = Ledger()
    ledger.budget(limit=GPU_HOUR)
    first, second = a_job(1, gpus=1), a_job(2, gpus=1)
    ledger.submit(first)
    read = ledger.seq
    ledger.submit(second)
    ledger.budget(limit=GPU_HOUR, spent=7, full=True, jobs_seq=read)
    holds = ledger.core.state.budgets.by_id["b"].holds
    assert list(holds) == [ledger.key(second)]
    assert findings(ledger.core.state) == []


def test_an_older_message_of_the_ledger_says_nothing() -> None:
    ledger = Ledger()
    ledger.budget(limit=5, number=9)
    assert ledger.budget(limit=7, number=9) == []
    assert ledger.budget(limit=7, number=3, budget_id="other") == []
    assert ledger.core.state.budgets.by_id["b"].limit == 5


def test_a_limit_falls_no_deeper_than_what_was_promised() -> None:
    ledger = Ledger()
    ledger.credit(10 * USD)
    ledger.rates(a_price())
    ledger.submit(a_job(gpus=1, disconnect_s=60))
    held = ledger.core.state.budgets.by_id["credit-USD"].held
    (noted,) = ledger.credit(0)
    assert noted.limit == held > 0
    assert findings(ledger.core.state) == []


def test_prepaid_work_without_a_disconnect_is_refused_with_a_sentence() -> None:
    ledger = Ledger()
    ledger.credit(10 * USD)
    ledger.rates(a_price())
    (refused,) = ledger.submit(a_job(gpus=1))
    refusal = refused.items[0].refusal
    assert (refusal.code, refusal.field) == ("prepaid_needs_disconnect", "disconnect_s")
    assert "disconnect_s" in refusal.message


def test_credit_is_reserved_at_the_dearest_price_that_is_announced() -> None:
    ledger = Ledger()
    ledger.credit(100 * USD)
    dear = a_price(micro=20 * USD, version=2, effective_from_ms=1 << 41)
    ledger.rates(a_price(), dear)
    ledger.submit(a_job(gpus=1, disconnect_s=60, grace_s=10))
    (grant,) = ledger.grants()
    assert grant.paid_ms == 240_000
    assert grant.reserved == {"credit-USD": 20 * USD * 240 // 3_600 + 2}


def test_credit_in_another_currency_than_the_price_pays_for_nothing() -> None:
    ledger = Ledger()
    ledger.credit(100 * USD)
    ledger.rates(a_price(currency="EUR"))
    job = a_job(gpus=1, disconnect_s=60)
    ledger.submit(job)
    assert ledger.grants() == []
    assert "another currency than the credit, which is in USD" in ledger.why(job)


def test_of_several_budgets_every_one_is_kept() -> None:
    ledger = Ledger()
    ledger.budget("all", limit=GPU_HOUR)
    ledger.budget("vision", project="vision", limit=100_000_000)
    ledger.submit(a_job(1, gpus=1, project="vision"), a_job(2, gpus=1))
    first, second = ledger.grants()
    assert first.reserved == {"all": 100_000_000, "vision": 100_000_000}
    assert second.reserved == {"all": 240_000_000}


def test_capped_work_goes_only_where_a_host_can_see_to_it() -> None:
    ledger = Ledger(a_node("old"))
    ledger.budget(limit=GPU_HOUR)
    job = a_job(gpus=1)
    ledger.submit(job)
    assert ledger.grants() == []
    ledger.feed(NodeChanged(NodeRegistered(a_paying_node("new"))))
    assert ledger.grants()[0].ranks[0].node == "new"


def test_a_gang_is_paid_for_as_a_whole() -> None:
    ledger = Ledger()
    ledger.budget(limit=GPU_HOUR)
    ledger.submit(a_job(ranks=4, gpus=2))
    (grant,) = ledger.grants()
    assert grant.reserved == {"b": 8_000 * 240_000}


def test_why_devices_idle_is_noted_when_it_changes() -> None:
    ledger = Ledger()
    ledger.budget(limit=5_000_000)
    poor, large = a_job(1, gpus=2), a_job(2, gpus=8)
    ledger.submit(poor)
    assert of(DemandNoted, ledger.tick(1)) == [DemandNoted({"budget": 2_000})]
    ledger.submit(a_job(3, gpus=1), large, tenant="rich")
    assert of(DemandNoted, ledger.tick(1)) == [DemandNoted({"budget": 2_000, "fit": 8_000})]
    assert of(DemandNoted, ledger.tick(1)) == []
    ledger.cancel(poor)
    ledger.cancel(large, tenant="rich")
    assert of(DemandNoted, ledger.tick(1)) == [DemandNoted({})]


def test_the_site_of_a_node_stands_in_the_grant() -> None:
    ledger = Ledger(a_node(labels={"site": "berlin"}))
    ledger.submit(a_job(gpus=1))
    assert ledger.grants()[0].ranks[0].site == "berlin"


@pytest.mark.parametrize("seconds", [0, 130])
def test_a_scheduler_that_takes_over_knows_all_budgets_and_holds(seconds: int) -> None:
    ledger = Ledger()
    ledger.rates(a_price())
    ledger.budget(limit=300_000_000)
    ledger.credit(50 * USD)
    job, waits = a_job(1, gpus=1, disconnect_s=5), a_job(2, gpus=4, disconnect_s=5)
    ledger.submit(job, waits)
    ledger.start(job)
    ledger.tick(seconds)
    again = SchedulerCore()
    again.restore(ledger.core.snapshot())
    assert again.snapshot() == ledger.core.snapshot()
    assert findings(again.state) == []
    assert list(again.state.payers) == list(ledger.core.state.payers)
    assert list(again.state.line.waiting()) == list(ledger.core.state.line.waiting())
    assert again.settle(ledger.now_ns, ledger.seq + 1) == ()


def test_a_budget_of_which_more_is_spent_than_it_holds_promises_nothing_more() -> None:
    ledger = Ledger()
    (noted,) = ledger.budget(limit=GPU_HOUR, spent=5 * GPU_HOUR)
    assert noted.limit == 5 * GPU_HOUR
    assert findings(ledger.core.state) == []
    (refused,) = ledger.submit(a_job(gpus=1))
    assert refused.items[0].refusal.code == "over_budget"
    assert "5 GPU-h of 1 GPU-h are spent" in refused.items[0].refusal.message


def test_what_is_spent_of_several_attempts_is_rounded_once_and_passes_no_limit() -> None:
    """Of three attempts 66.3, 10.3 and 5.3 are spent, then 66.9, 10.9 and 5.9: what is told of each
    stays the same, the sum grows. Meanwhile nobody else may have what seems to be left."""
    ledger = Ledger()
    ledger.rates(a_price(), a_price("cpu", micro=1, version=2, unit="cpu_hour"))
    jobs = [a_job(n, gpus=1) for n in (1, 2, 3)]
    limit = 3 * 133_335  # 240 s of each
    ledger.budget(unit="micro", currency="USD", limit=limit)
    ledger.submit(*jobs)
    assert [grant.reserved for grant in ledger.grants()] == [{"b": 133_335}] * 3
    settled = dict(zip(map(ledger.key, jobs), (67, 11, 6), strict=True))
    ledger.budget(unit="micro", currency="USD", limit=limit, spent=82, settled=settled)
    ledger.submit(a_job(4))
    ledger.budget(unit="micro", currency="USD", limit=limit, spent=84, settled=settled)
    budget = ledger.core.state.budgets.by_id["b"]
    assert budget.state.spent + budget.held <= budget.limit == limit


def test_who_waited_for_money_is_not_held_to_the_nodes_that_were_freed_meanwhile() -> None:
    ledger = Ledger(a_paying_node("n1", gpus=1, labels={"zone": "a"}), a_paying_node("n2", gpus=1))
    ledger.budget(limit=1_000_000)
    runs = a_job(1, gpus=1, node_labels={"zone": "a"})
    ledger.submit(runs, tenant="beta")
    poor = a_job(2, gpus=1, grace_s=60)
    ledger.submit(poor)
    assert "waiting to be paid for" in ledger.why(poor)
    ledger.start(runs)
    ledger.report(Exited, runs, exit_code=0, reason="exited")
    next_one = a_job(3, gpus=1, node_labels={"zone": "a"}, priority=9)
    asked = JobsRequested("beta", 9, (next_one,))
    ledger.feed(ledger.reported(Released, runs), asked)
    ledger.budget(limit=10 * GPU_HOUR)
    assert [grant.job_id for grant in ledger.grants()] == [
        job.job_id for job in (runs, next_one, poor)
    ]


@pytest.mark.parametrize("dear", ["n1", "n2"])
def test_who_cannot_pay_for_the_best_place_takes_one_that_costs_less(dear: str) -> None:
    sites = {name: {"site": "dear" if name == dear else "fair"} for name in ("n1", "n2")}
    ledger = Ledger(*(a_paying_node(name, gpus=1, labels=labels) for name, labels in sites.items()))
    ledger.rates(a_price(), a_price("gpu", micro=2_000 * USD, version=2, site="dear"))
    ledger.credit(USD)
    ledger.submit(a_job(gpus=1, disconnect_s=60))
    assert [rank.site for grant in ledger.grants() for rank in grant.ranks] == ["fair"]


def test_who_cannot_pay_today_begins_when_a_lower_price_holds() -> None:
    ledger = Ledger()
    soon_ms = ledger.now_ns // 1_000_000 + 60_000
    ledger.rates(
        a_price(micro=2_000 * USD), a_price(micro=USD, version=2, effective_from_ms=soon_ms)
    )
    ledger.credit(USD)
    ledger.submit(a_job(gpus=1, disconnect_s=60))
    ledger.tick(50)
    assert ledger.grants() == []
    ledger.tick(20)
    assert len(ledger.grants()) == 1
