"""Is what is guaranteed there, what is allowed never passed, and what is borrowed given back?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_contracts.asks import Alternative
from penstock_contracts.journal import LeaseGranted
from penstock_contracts.queue_faults import policy_faults
from penstock_contracts.queue_policy import Pool, QueuePolicy, Quota
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.queue.quotas.shares import Ask
from penstock_scheduler.core.telling.demand import blocked_of
from tests.scheduler.driver import Driver, a_job, a_node
from tests.scheduler.test_pools import obey

ALONE = (Pool(name="default", backfill="none", preempt="none"),)


def under(*quotas: Quota, gpus: int = 8, nodes: int = 1, **fields: Any) -> Driver:
    driver = Driver(*(a_node(f"n{i}", gpus) for i in range(nodes)))
    policy = QueuePolicy(pools=ALONE, quotas=quotas, **fields)
    assert policy_faults(policy) == ()
    obey(driver, policy)
    return driver


def granted(facts: list[Any]) -> list[str]:
    return [fact.job_id for fact in facts if isinstance(fact, LeaseGranted)]


def team(name: str, **fields: Any) -> Quota:
    return Quota(name=name, tenant=name, **fields)


def test_a_maximum_holds_back_what_would_pass_it_and_nobody_else() -> None:
    driver = under(team("a", maximum_gpu_milli=2_000), team("b"))
    first, second, third = (a_job(number, gpus=1) for number in (1, 2, 3))
    assert len(granted(driver.submit(first, second, third, tenant="a"))) == 2
    assert len(granted(driver.submit(a_job(4, gpus=5), tenant="b"))) == 1
    assert blocked_of(driver.core.state.line) == {"quota": 1_000}
    driver.start(first)
    assert granted(driver.end(first)) == [third.job_id]


def test_a_maximum_of_cpu_holds_back_what_asks_for_no_gpu() -> None:
    driver = under(team("a", maximum_cpu_milli=1_500), team("b"))
    jobs = [a_job(number, cpu_milli=1_000) for number in (1, 2)]
    assert len(granted(driver.submit(*jobs, tenant="a"))) == 1


def test_the_maximum_of_a_parent_counts_what_all_its_children_hold() -> None:
    driver = under(
        Quota(name="org", maximum_gpu_milli=4_000),
        team("a", parent="org"),
        team("b", parent="org"),
        team("c"),
    )
    assert len(granted(driver.submit(a_job(1, gpus=3), tenant="a"))) == 1
    waiting = a_job(2, gpus=2)
    assert granted(driver.submit(waiting, tenant="b")) == []
    assert len(granted(driver.submit(a_job(3, gpus=4), tenant="c"))) == 1
    driver.start(a_job(1, gpus=3))
    assert granted(driver.end(a_job(1, gpus=3))) == [waiting.job_id]


def test_of_several_choices_one_that_the_maximum_allows_is_taken() -> None:
    driver = under(team("a", maximum_gpu_milli=2_000), team("b"))
    job = a_job(1, gpus=4, alternatives=(Alternative(gpus=2),))
    (grant,) = [f for f in driver.submit(job, tenant="a") if isinstance(f, LeaseGranted)]
    assert grant.alternative == 1


def test_choices_that_several_quotas_hold_back_are_tried_when_any_of_them_has_room_again() -> None:
    driver = under(
        team("a", parent="org", maximum_cpu_milli=2_000),
        team("b", parent="org"),
        Quota(name="org", maximum_gpu_milli=4_000),
    )
    running = a_job(1, gpus=4, cpu_milli=1_000)
    driver.submit(running, tenant="b")
    driver.start(running)
    job = a_job(2, gpus=1, cpu_milli=4_000, alternatives=(Alternative(gpus=2, cpu_milli=1_000),))
    assert granted(driver.submit(job, tenant="a")) == []
    assert granted(driver.end(running)) == [job.job_id]


def test_what_is_guaranteed_goes_first_and_what_is_idle_of_it_is_borrowed() -> None:
    driver = under(team("a", guaranteed_gpu_milli=6_000), team("b", guaranteed_gpu_milli=2_000))
    borrowed = [a_job(number, gpus=1) for number in range(1, 9)]
    assert len(granted(driver.submit(*borrowed, tenant="b"))) == 8, "nobody else wants it"
    more = [a_job(number, gpus=1) for number in range(11, 15)]
    owed = [a_job(number, gpus=1) for number in range(21, 25)]
    driver.submit(*more, tenant="b")
    driver.submit(*owed, tenant="a")
    back: list[str] = []
    for job in borrowed[:4]:
        driver.start(job)
        back += granted(driver.end(job))
    assert back == [job.job_id for job in owed], "what was borrowed is given back first"


def test_beyond_what_is_guaranteed_it_is_divided_by_weight() -> None:
    driver = under(team("a", weight=3), team("b", weight=1), gpus=8)
    for number in range(40):
        driver.submit(a_job(number, gpus=1), tenant="a" if number % 2 else "b")
    running = {"a": 0, "b": 0}
    jobs = {number: a_job(number, gpus=1) for number in range(40)}
    for _ in range(20):
        driver.tick(600)
        held = sorted(driver.core.state.leases.values(), key=lambda lease: lease.granted_ns)
        if not held:
            break
        oldest = held[0]
        spec = next(job for job in jobs.values() if job.job_id == oldest.job_id)
        driver.start(spec)
        for job_id in granted(driver.end(spec)):
            running[driver.core.state.jobs[job_id].tenant] += 1
    assert running["a"] > 2 * running["b"]


def test_who_has_used_less_lately_goes_first_and_older_use_fades() -> None:
    driver = under(team("a"), team("b"), gpus=4, half_life_s=3_600)
    long = a_job(1, gpus=4)
    driver.submit(long, tenant="a")
    driver.start(long)
    driver.tick(3_600)
    driver.submit(a_job(2, gpus=4, priority=9), tenant="a")
    driver.submit(a_job(3, gpus=4, priority=0), tenant="b")
    assert granted(driver.end(long)) == [a_job(3).job_id]


def test_what_is_free_at_one_time_is_shared_not_taken_by_one() -> None:
    driver = under(team("a"), team("b"), gpus=8)
    blocker = a_job(99, gpus=8)
    driver.submit(blocker, tenant="c")
    driver.start(blocker)
    driver.submit(*(a_job(number, gpus=1) for number in range(8)), tenant="a")
    driver.submit(*(a_job(10 + number, gpus=1) for number in range(8)), tenant="b")
    facts = driver.end(blocker)
    tenants = [fact.tenant for fact in facts if isinstance(fact, LeaseGranted)]
    assert sorted(tenants) == ["a"] * 4 + ["b"] * 4


@pytest.mark.lesson(4)
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_limit_that_is_accepted_can_reject(data: st.DataObject) -> None:
    """Of any policy without faults, a job of the right tenant that asks for one more than a maximum
    leaves is held back, whatever the nodes have room for."""
    policy = data.draw(policies())
    if policy_faults(policy):
        return
    limited = [q for q in policy.quotas if q.maximum_gpu_milli is not None]
    if not limited:
        return
    quota = data.draw(st.sampled_from(limited))
    leaf = quota
    while not leaf.tenant:
        children = [q for q in policy.quotas if q.parent == leaf.name]
        if not children:
            return
        leaf = children[0]
    driver = Driver(*(a_node(f"n{i}", 8) for i in range(4)))
    obey(driver, policy)
    state = driver.core.state
    limit = quota.maximum_gpu_milli or 0
    found = state.rules.leaf_of("", leaf.tenant, leaf.project)
    assert found.quota == leaf.name
    assert not state.shares.allows(found, Ask(limit + 1_000, 0))
    jobs = [a_job(number, gpus=1, project=leaf.project) for number in range(limit // 1_000 + 1)]
    assert len(granted(driver.submit(*jobs, tenant=leaf.tenant))) <= limit // 1_000
    assert state.shares.quotas[quota.name].held_gpu <= limit


@st.composite
def policies(draw: st.DrawFn) -> QueuePolicy:
    quotas: list[Quota] = []
    for number in range(draw(st.integers(1, 6))):
        parents = [""] + [q.name for q in quotas if not q.tenant]
        is_leaf = draw(st.booleans()) or number > 3
        quotas.append(
            Quota(
                name=f"q{number}",
                parent=draw(st.sampled_from(parents)),
                tenant=f"t{number}" if is_leaf else "",
                guaranteed_gpu_milli=1_000 * draw(st.integers(0, 2)),
                maximum_gpu_milli=draw(st.sampled_from([None, 1_000, 2_000, 3_000, 8_000])),
                weight=draw(st.integers(1, 5)),
            )
        )
    return QueuePolicy(pools=ALONE, quotas=tuple(quotas), half_life_s=600)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["submit", "end", "tick", "policy", "cancel"]),
        st.integers(0, 5),
        st.integers(1, 4),
    ),
    min_size=5,
    max_size=40,
)


@pytest.mark.lesson(4)
@settings(max_examples=60, deadline=None)
@given(STEPS, st.lists(policies(), min_size=2, max_size=2))
def test_sums_over_the_tree_hold_at_every_step_and_nothing_passes_a_maximum(
    steps: list[tuple[str, int, int]], drawn: list[QueuePolicy]
) -> None:
    sound = [policy for policy in drawn if not policy_faults(policy)]
    driver = Driver(a_node("n1", 8), a_node("n2", 4))
    for policy in sound[:1]:
        obey(driver, policy)
    number = 0
    for what, which, size in steps:
        before = held_of(driver)
        state = driver.core.state
        facts: list[Any] = []
        if what == "submit":
            number += 1
            facts = driver.submit(a_job(number, gpus=size), tenant=f"t{which}")
        elif what == "tick":
            facts = driver.tick(60 * size)
        elif what == "policy" and sound:
            facts = obey(driver, sound[which % len(sound)])
            before = held_of(driver)
        elif state.jobs:
            job = sorted(state.jobs.values(), key=lambda one: one.order)[which % len(state.jobs)]
            if what == "cancel":
                facts = driver.cancel(job.spec, tenant=job.tenant)
            elif job.state != "queued":
                driver.start(job.spec)
                facts = driver.end(job.spec)
        check_sums(driver)
        if what != "policy":
            check_maxima(driver, before, facts)


def held_of(driver: Driver) -> dict[str, int]:
    return {name: one.held_gpu for name, one in driver.core.state.shares.quotas.items()}


def check_sums(driver: Driver) -> None:
    """Recomputed from leases and jobs, and from what a copy makes of the snapshot."""
    state = driver.core.state
    held: dict[str, int] = {}
    for lease in state.leases.values():
        leaf = state.leaf_of(lease.tenant, lease.spec)
        for name in [*(quota.name for quota in state.rules.path(leaf)), f"pool {leaf.pool}"]:
            held[name] = held.get(name, 0) + lease.gpu_milli * len(lease.uuids)
    for name, account in state.shares.quotas.items():
        assert account.held_gpu == held.get(name, 0)
        if account.under:
            assert account.held_gpu == sum(one.held_gpu for one in account.under)
            assert account.waiting_jobs == sum(one.waiting_jobs for one in account.under)
    for name, account in state.shares.pools.items():
        assert account.held_gpu == held.get(f"pool {name}", 0)
        assert account.waiting_jobs == len(state.line)
    again = SchedulerCore()
    again.restore(driver.core.snapshot())
    assert again.state.shares.keep() == state.shares.keep()
    assert list(again.settle(driver.now_ns, driver.seq)) == []


def check_maxima(driver: Driver, before: dict[str, int], facts: list[Any]) -> None:
    state = driver.core.state
    for fact in facts:
        if not isinstance(fact, LeaseGranted):
            continue
        leaf = state.leaf_of(fact.tenant, state.jobs[fact.job_id].spec)
        for quota in state.rules.path(leaf):
            if quota.maximum_gpu_milli is not None:
                now = state.shares.quotas[quota.name].held_gpu
                assert now <= max(quota.maximum_gpu_milli, before[quota.name])
