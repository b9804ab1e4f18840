"""Is work that runs paid for ahead, and does it end when nobody can pay any more?"""

from __future__ import annotations

import pytest

from penstock_contracts.journal import (
    AttemptEnded,
    JobFinished,
    LeaseGranted,
    StopRequested,
)
from penstock_contracts.leases import Exited, Released, Started
from penstock_scheduler.core.orders.desired import orders_of
from penstock_scheduler.core.telling.views import findings
from tests.scheduler.driver import a_job, a_node
from tests.scheduler.money import GPU_HOUR, Ledger, of


def test_more_is_reserved_ahead_of_time_while_it_runs() -> None:
    ledger = Ledger()
    ledger.budget(limit=10 * GPU_HOUR)
    job = a_job(gpus=1)
    ledger.submit(job)
    ledger.start(job)
    ledger.tick(100)
    assert ledger.paid() == []
    ledger.tick(25)
    (paid,) = ledger.paid()
    assert paid.leases[0].paid_ms == 125_000 + 240_000
    assert paid.leases[0].reserved == {"b": 365_000_000}
    (order,) = orders_of(ledger.core.state, "n1").values()
    assert order.paid_ms == 365_000
    ledger.tick(1)
    assert len(ledger.paid()) == 1


@pytest.mark.lesson(20)
def test_ten_gpu_hours_are_reserved_to_the_last_second_and_never_passed() -> None:
    ledger = Ledger()
    limit = 10 * GPU_HOUR
    ledger.budget(limit=limit)
    job = a_job(gpus=8)
    ledger.submit(job)
    ledger.start(job)
    for _ in range(5_000):
        ledger.tick(1)
        state = ledger.core.state
        held = state.budgets.by_id["b"].holds[ledger.key(job)].reserved
        assert held <= limit
        if ledger.core.state.jobs[job.job_id].stop_reason:
            break
    (order,) = orders_of(ledger.core.state, "n1").values()
    assert order.paid_ms == limit // 8_000
    assert held == limit
    (stop,) = of(StopRequested, ledger.facts)
    assert stop.reason == "budget"
    ran_ms = (ledger.now_ns // 1_000_000) - (ledger.core.state.jobs[job.job_id].started_ms or 0)
    assert order.paid_ms - 10_000 <= ran_ms <= order.paid_ms - 9_000


def test_what_is_left_is_promised_once_though_several_need_it_at_the_same_instant() -> None:
    ledger = Ledger()
    ledger.budget(limit=600_000_000)
    first, second = a_job(1, gpus=1), a_job(2, gpus=1)
    ledger.submit(first, second)
    ledger.start(first)
    ledger.start(second)
    ledger.tick(125)
    (paid,) = ledger.paid()
    assert [one.paid_ms for one in paid.leases] == [360_000]
    assert ledger.core.state.budgets.by_id["b"].left == 0
    assert findings(ledger.core.state) == []


def test_what_a_lease_did_not_use_is_free_again_once_the_ledger_has_settled_it() -> None:
    ledger = Ledger()
    ledger.budget(limit=240_000_000)
    first, second = a_job(1, gpus=1), a_job(2, gpus=1)
    ledger.submit(first, second)
    key = ledger.key(first)
    ledger.start(first)
    ledger.now_ns += 10_000_000_000
    ledger.end(first)
    assert len(ledger.grants()) == 1
    ledger.budget(limit=240_000_000, spent=4_000_000, settled={key: 4_000_000})
    assert len(ledger.grants()) == 1
    ledger.budget(limit=240_000_000, spent=10_000_000, over=(key,))
    assert ledger.grants()[1].reserved == {"b": 230_000_000}


def test_a_budget_that_only_warns_or_refuses_bounds_nothing_that_runs() -> None:
    ledger = Ledger(a_node())
    ledger.budget("w", acts="warn", limit=0)
    ledger.budget("r", acts="refuse", limit=5)
    job, later = a_job(1, gpus=1), a_job(2, gpus=1)
    ledger.submit(job)
    assert ledger.grants()[0].paid_ms is None
    ledger.start(job)
    ledger.budget("r", acts="refuse", limit=5, spent=5)
    ledger.tick(1)
    assert of(StopRequested, ledger.facts) == []
    (refused,) = ledger.submit(later)
    assert "budget r of acme is used up" in refused.items[0].refusal.message


def test_a_budget_that_ends_preemptible_work_leaves_the_rest_alone() -> None:
    ledger = Ledger(a_node())
    ledger.budget(acts="end_preemptible", limit=5)
    spot, other = a_job(1, gpus=1, tier="spot"), a_job(2, gpus=1)
    ledger.submit(spot, other)
    ledger.start(spot)
    ledger.start(other)
    ledger.budget(acts="end_preemptible", limit=5, spent=6)
    stops = of(StopRequested, ledger.tick(1))
    assert stops == [StopRequested(spot.job_id, 1, "budget")]
    facts = ledger.end(spot, code=None, signal=15, reason="budget")
    assert of(AttemptEnded, facts)[0].outcome == "preempted"
    assert spot.job_id in ledger.core.state.line


def test_work_that_its_host_ends_when_its_time_is_used_up_has_failed_for_the_budget() -> None:
    ledger = Ledger()
    ledger.budget(limit=60_000_000)
    job = a_job(gpus=1, retries=3)
    ledger.submit(job)
    ledger.start(job)
    ledger.now_ns += 60_000_000_000
    facts = ledger.feed(
        ledger.reported(Exited, job, signal=9, reason="budget"), ledger.reported(Released, job)
    )
    (end,) = of(JobFinished, facts)
    assert (end.state, end.reason) == ("failed", "budget")
    assert "budget" in end.message


def test_work_that_began_before_its_budget_is_paid_for_from_its_start() -> None:
    ledger = Ledger()
    job = a_job(gpus=1)
    ledger.submit(job)
    ledger.start(job)
    ledger.now_ns += 50_000_000_000
    ledger.budget(limit=GPU_HOUR)
    ledger.tick(1)
    (paid,) = ledger.paid()
    assert paid.leases[0].reserved == {"b": (51_000 + 240_000) * 1_000}


def test_work_that_has_used_more_than_a_new_budget_holds_is_ended() -> None:
    ledger = Ledger()
    job = a_job(gpus=1)
    ledger.submit(job)
    ledger.start(job)
    ledger.now_ns += 50_000_000_000
    ledger.budget(limit=10_000_000)
    assert of(StopRequested, ledger.tick(1)) == [StopRequested(job.job_id, 1, "budget")]


def test_a_budget_that_is_removed_lifts_the_cap_of_what_runs() -> None:
    ledger = Ledger()
    ledger.budget(limit=GPU_HOUR)
    job = a_job(gpus=1)
    ledger.submit(job)
    ledger.start(job)
    ledger.budget(limit=GPU_HOUR, gone=True)
    ledger.tick(1)
    (order,) = orders_of(ledger.core.state, "n1").values()
    assert order.paid_ms is None
    ledger.tick(1)
    assert len(ledger.paid()) == 1


def test_a_put_back_job_is_not_begun_again_for_a_moments_work() -> None:
    ledger = Ledger()
    ledger.budget(limit=60_000_000)
    job = a_job(gpus=1, tier="spot")
    ledger.submit(job)
    key = ledger.key(job)
    ledger.start(job)
    ledger.end(job, code=None, signal=9, reason="budget")
    ledger.budget(limit=80_000_000, spent=60_000_000, over=(key,))
    assert len(ledger.grants()) == 1
    ledger.budget(limit=300_000_000, spent=60_000_000)
    assert len(ledger.grants()) == 2


def test_started_twice_is_paid_once() -> None:
    ledger = Ledger()
    ledger.budget(limit=GPU_HOUR)
    job = a_job(gpus=1)
    ledger.submit(job)
    ledger.start(job)
    assert of(LeaseGranted, ledger.report(Started, job)) == []
    assert ledger.core.state.budgets.by_id["b"].held == 240_000_000


@pytest.mark.parametrize(("code", "state"), [(0, "succeeded"), (255, "failed")])
def test_work_that_ends_by_itself_before_it_is_stopped_ends_as_it_did(
    code: int, state: str
) -> None:
    ledger = Ledger()
    ledger.budget(limit=60_000_000)
    job = a_job(gpus=1, grace_s=30)
    ledger.submit(job)
    ledger.start(job)
    assert of(StopRequested, ledger.tick(40))
    (end,) = of(JobFinished, ledger.end(job, code=code))
    assert (end.state, end.exit_code) == (state, code)
