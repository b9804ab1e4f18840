"""Which jobs does the queue's policy not even let wait?"""

from __future__ import annotations

from typing import Any

import pytest

from penstock_contracts.asks import Alternative
from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import PolicySet, RequestRefused
from penstock_contracts.queue_policy import Pool, QueuePolicy, Quota
from tests.scheduler.driver import Driver, a_job, a_node

TREE = QueuePolicy(
    quotas=(
        Quota(name="org", queued_max=5, maximum_gpu_milli=8_000),
        Quota(name="acme", parent="org", tenant="acme", queued_max=3),
        Quota(name="blue", parent="org", tenant="blue", maximum_gpu_milli=2_000),
        Quota(name="cyan", tenant="cyan", maximum_cpu_milli=4_000),
    )
)


def under(policy: QueuePolicy, *nodes: Any) -> Driver:
    driver = Driver(*nodes)
    driver.fold(PolicySet(1, policy, "key", 0))
    return driver


def refused(driver: Driver, *jobs: JobSpec, tenant: str = "acme") -> list[tuple[int, str]]:
    """Which of the jobs of one request are refused, and why."""
    facts = driver.submit(*jobs, tenant=tenant)
    items = [item for fact in facts if isinstance(fact, RequestRefused) for item in fact.items]
    return [(item.index, item.refusal.code) for item in items]


def some(first: int, count: int, **fields: Any) -> list[JobSpec]:
    return [a_job(number, gpus=1, **fields) for number in range(first, first + count)]


@pytest.mark.lesson(4)
def test_no_more_jobs_wait_than_the_quota_and_those_above_it_let_wait() -> None:
    driver = under(TREE)
    assert refused(driver, *some(1, 5)) == [(3, "queue_full"), (4, "queue_full")]
    assert refused(driver, *some(9, 1)) == [(0, "queue_full")]
    assert refused(driver, *some(11, 3), tenant="blue") == [(2, "queue_full")], "org has five"
    assert refused(driver, *some(21, 3), tenant="cyan") == []


def test_who_has_left_the_line_makes_room_for_another() -> None:
    driver = under(TREE)
    refused(driver, *some(1, 3))
    assert refused(driver, *some(4, 1)) == [(0, "queue_full")]
    driver.cancel(a_job(1, gpus=1))
    assert refused(driver, *some(4, 1)) == []


def test_what_runs_does_not_wait() -> None:
    driver = under(TREE, a_node(gpus=8))
    for number in range(1, 8):
        assert refused(driver, *some(number, 1)) == []
    assert len(driver.core.state.leases) == 7


@pytest.mark.lesson(4)
@pytest.mark.parametrize(
    ("tenant", "job"),
    [
        ("blue", a_job(1, gpus=3)),
        ("blue", a_job(1, gpus=1, ranks=3)),
        ("acme", a_job(1, gpus=1, ranks=9)),
        ("cyan", a_job(1, cpu_milli=4_001)),
    ],
)
def test_what_is_more_than_a_quota_ever_allows_is_refused(tenant: str, job: JobSpec) -> None:
    driver = under(TREE, a_node(gpus=8), a_node("n2", gpus=8))
    assert refused(driver, job, tenant=tenant) == [(0, "over_quota")]


def test_one_choice_that_the_quota_allows_is_enough() -> None:
    driver = under(TREE, a_node(gpus=8))
    job = a_job(1, gpus=4, alternatives=(Alternative(gpus=2),))
    assert refused(driver, job, tenant="blue") == []


def test_a_pool_that_is_not_there_is_refused_with_the_names_of_those_that_are() -> None:
    driver = under(QueuePolicy(pools=(Pool(name="h100"), Pool(name="rest"))), a_node())
    assert refused(driver, a_job(1, pool="rest")) == []
    driver.submit(a_job(2, pool="a100"))
    fact = driver.facts[-1]
    assert fact.items[0].refusal.code == "unknown_pool" and fact.items[0].refusal.field == "pool"
    assert fact.items[0].refusal.message == "there is no pool a100; there are: h100, rest"


def test_without_a_policy_nothing_is_refused_for_it() -> None:
    driver = Driver(a_node())
    assert refused(driver, *some(1, 40)) == [] and refused(driver, a_job(99, pool="")) == []
    assert refused(driver, a_job(100, pool="other")) == [(0, "unknown_pool")]
