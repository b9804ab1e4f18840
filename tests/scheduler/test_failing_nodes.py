"""What becomes of a node on which everybody's work fails?"""

from __future__ import annotations

from typing import Any

import pytest

from penstock_contracts.journal import NodeImaged
from penstock_contracts.nodes import NodeRegistered
from penstock_scheduler.core.events import NodeChanged
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.resting.failing import FAILURES_MIN, OF_TENANT_MAX, WINDOW_NS
from penstock_scheduler.core.resting.nodes import LASTED_MS
from penstock_scheduler.core.telling.explain import explain
from penstock_scheduler.core.telling.reasons import Reasons
from penstock_scheduler.core.telling.views import nodes_view
from tests.scheduler.driver import SECOND_NS, Driver, a_job, a_node

TENANTS = ("acme", "blue", "cyan")


class Works(Driver):
    """A driver that gives work to one node after the other and says how each piece ends."""

    def __init__(self, *nodes: Any) -> None:
        super().__init__(*(nodes or (a_node("n1", 1),)))
        self.numbers = 0

    def piece(self, tenant: str, **fields: Any) -> Any:
        self.numbers += 1
        job = a_job(self.numbers, gpus=1, **fields)
        self.submit(job, tenant=tenant)
        return job

    def fail(self, tenant: str, times: int = 1, **end: Any) -> None:
        for _ in range(times):
            job = self.piece(tenant)
            self.start(job)
            self.end(job, **{"code": 1, **end})

    def image(self, name: str = "n1") -> NodeImaged:
        return self.core.state.nodes[name].image


def broken() -> Works:
    """The work of two tenants has failed on the only node, one time too many."""
    works = Works()
    works.fail("acme", OF_TENANT_MAX)
    works.fail("blue", FAILURES_MIN - OF_TENANT_MAX)
    assert works.image().resting and works.image().failing
    return works


@pytest.mark.lesson(6)
def test_a_node_on_which_the_work_of_several_tenants_fails_within_a_minute_takes_no_more() -> None:
    works = Works(a_node("n1", 1), a_node("n2", 8))
    for number in range(FAILURES_MIN):
        assert not works.image().resting
        job = works.piece(TENANTS[number % 3])
        works.start(job)
        works.end(job, code=None, reason="signalled", signal=11)
    assert works.image().resting and works.image().failing
    job = works.piece("acme")
    assert works.core.state.jobs[job.job_id].ranks[0].node == "n2"


def test_the_mistakes_of_one_tenant_are_no_fault_of_a_node() -> None:
    works = Works()
    works.fail("acme", 5 * FAILURES_MIN)
    works.fail("blue", FAILURES_MIN - OF_TENANT_MAX - 1)
    assert not works.image().resting


def test_where_anything_succeeds_in_between_the_node_is_well() -> None:
    works = Works()
    for _ in range(3):
        works.fail("acme", OF_TENANT_MAX)
        works.fail("blue", FAILURES_MIN - OF_TENANT_MAX - 1)
        works.fail("cyan", 1, code=0)
    assert not works.image().resting and not works.core.state.failing.by_node


def test_failures_over_a_longer_time_do_not_add_up() -> None:
    works = Works()
    for number in range(4 * FAILURES_MIN):
        works.fail(TENANTS[number % 3])
        works.tick(WINDOW_NS / SECOND_NS / (FAILURES_MIN - 1))
    assert not works.image().resting


@pytest.mark.parametrize(
    "end",
    [
        {"reason": "out_of_memory", "code": None},
        {"reason": "time_limit", "code": None, "signal": 15},
        {"reason": "prepare_failed", "code": None},
    ],
)
def test_what_is_surely_the_works_own_fault_is_not_held_against_the_node(end: dict) -> None:
    works = Works()
    for tenant in TENANTS:
        works.fail(tenant, FAILURES_MIN, **end)
    assert not works.image().resting


def test_who_is_cancelled_does_not_fail() -> None:
    works = Works()
    for number in range(3 * FAILURES_MIN):
        tenant = TENANTS[number % 3]
        job = works.piece(tenant)
        works.start(job)
        works.cancel(job, tenant)
        works.end(job, code=None, reason="cancelled", signal=15)
    assert not works.image().resting


def test_a_failing_node_is_whole_when_a_trial_succeeds_and_not_when_it_only_starts() -> None:
    works = broken()
    first, second = works.piece("acme"), works.piece("blue")
    works.tick(1)
    assert works.image().failing and not works.image().resting
    works.start(first)
    assert works.image().failing, "all its work started"
    works.end(first)
    assert not works.image().failing and works.image().refusals == 0
    assert works.core.state.jobs[second.job_id].state == "placed"


@pytest.mark.lesson(6)
def test_a_trial_that_fails_sends_the_node_to_rest_for_twice_as_long() -> None:
    works = broken()
    for rest_s in (1, 2, 4, 8):
        job = works.piece("cyan")
        works.tick(rest_s - 0.5)
        assert not works.core.state.leases, rest_s
        works.tick(0.5)
        assert len(works.core.state.leases) == 1
        works.start(job)
        works.end(job, code=1)
        assert works.image().resting


def test_a_trial_that_runs_on_for_a_minute_makes_the_node_whole() -> None:
    works = Works(a_node("n1", 2))
    works.fail("acme", OF_TENANT_MAX)
    works.fail("blue", FAILURES_MIN - OF_TENANT_MAX)
    long, other = works.piece("acme"), works.piece("blue")
    works.tick(1)
    works.start(long)
    works.tick(LASTED_MS / 1000 - 1)
    assert len(works.core.state.leases) == 1 and works.image().failing
    works.tick(1)
    assert not works.image().failing
    assert works.core.state.jobs[other.job_id].state == "placed"


def test_a_failing_node_says_why_it_takes_nothing() -> None:
    works = broken()
    job = works.piece("acme")
    state = works.core.state
    why = explain(state, state.jobs[job.job_id], Reasons(), works.now_ns)
    assert why.code == "no_schedulable_node"
    assert "resting, as the work of several tenants failed there" in why.sentence


def test_operators_see_which_nodes_rest_and_why() -> None:
    works = broken()
    (use,) = nodes_view(works.core.state, 1).nodes
    assert (use.schedulable, use.resting) == (False, "work_fails")
    job = works.piece("acme")
    works.tick(1)
    works.start(job)
    works.end(job)
    (use,) = nodes_view(works.core.state, 1).nodes
    assert (use.schedulable, use.resting) == (True, "")


def test_what_is_held_against_a_node_outlives_a_restart_but_not_a_reboot() -> None:
    works = Works()
    works.fail("acme", OF_TENANT_MAX)
    core = SchedulerCore()
    core.restore(works.core.snapshot())
    assert core.snapshot() == works.core.snapshot()
    assert core.state.failing.by_node == works.core.state.failing.by_node != {}
    works.feed(NodeChanged(NodeRegistered(a_node("n1", 1, boot_id="boot-2"))))
    assert not works.core.state.failing.by_node
