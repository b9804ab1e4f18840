"""Who may set the queue's policy, when does it hold, and what outlives it?"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock_contracts.queue_facts import PolicySet
from penstock_contracts.queue_messages import SetPolicy
from penstock_contracts.queue_policy import Pool, QueuePolicy, Quota
from penstock_scheduler.core.events import PolicyAsked
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.queue.setting import is_repeated, refusal_of
from tests.scheduler.driver import Driver, a_job, a_node

ACME = Quota(name="acme", tenant="acme", guaranteed_gpu_milli=2_000, maximum_gpu_milli=3_000)


def ask(driver: Driver, policy: QueuePolicy, key: str = "k1", **fields: Any) -> list[Any]:
    return driver.feed(PolicyAsked(SetPolicy(key, policy, **fields)))


def test_a_policy_holds_as_the_next_version_and_a_repeated_command_changes_nothing() -> None:
    driver = Driver(a_node("n1", 4))
    policy = QueuePolicy(quotas=(ACME,))
    (fact,) = ask(driver, policy)
    assert fact == PolicySet(1, policy, "k1", driver.now_ns // 1_000_000)
    assert ask(driver, policy) == []
    assert is_repeated(driver.core.state, SetPolicy("k1", policy))
    ask(driver, QueuePolicy(), "k2", based_on=1)
    assert driver.core.state.rules.version == 2
    assert ask(driver, policy, "k1") == [], "an old command that comes again undoes nothing"


def test_a_policy_made_from_one_that_no_longer_holds_is_refused() -> None:
    driver = Driver(a_node("n1", 4))
    ask(driver, QueuePolicy(quotas=(ACME,)))
    stale = SetPolicy("k2", QueuePolicy(), based_on=0)
    assert driver.feed(PolicyAsked(stale)) == []
    refusal = refusal_of(driver.core.state, stale)
    assert refusal is not None
    assert refusal.code == "policy_changed"


def test_a_faulty_policy_is_refused_with_its_place_and_nothing_of_it_holds() -> None:
    driver = Driver(a_node("n1", 4))
    faulty = QueuePolicy(quotas=(ACME, Quota(name="b", tenant="b", parent="nowhere")))
    assert ask(driver, faulty) == []
    refusal = refusal_of(driver.core.state, SetPolicy("k1", faulty))
    assert refusal is not None
    assert (refusal.code, refusal.field) == ("unknown_parent", "quotas[1].parent")
    assert driver.core.state.rules.version == 0


def test_a_policy_counts_what_runs_and_waits_already() -> None:
    driver = Driver(a_node("n1", 4))
    driver.submit(a_job(1, gpus=3, cpu_milli=500), a_job(2, gpus=2))
    ask(driver, QueuePolicy(quotas=(ACME,)))
    account = driver.core.state.shares.quotas["acme"]
    assert (account.held_gpu, account.held_cpu) == (3_000, 500)
    assert (account.waiting_jobs, account.waiting_gpu) == (1, 2_000)


def test_use_stays_with_a_quota_that_is_named_as_before() -> None:
    driver = Driver(a_node("n1", 4))
    ask(driver, QueuePolicy(quotas=(ACME,)))
    driver.submit(a_job(1, gpus=2))
    driver.tick(3_600)
    ask(driver, QueuePolicy(quotas=(ACME, Quota(name="b", tenant="b"))), "k2")
    shares = driver.core.state.shares
    used, _ = shares.used_at(shares.quotas["acme"], shares.grid(driver.now_ns))
    assert 0.97 < used / (2_000 * 3_600_000) < 1.0
    assert shares.used_at(shares.quotas["b"], shares.grid(driver.now_ns)) == (0, 0)


def test_whoever_takes_over_knows_the_policy_what_is_held_and_what_was_used() -> None:
    driver = Driver(a_node("n1", 4, labels={"size": "big"}))
    pools = (Pool(name="big", node_labels={"size": "big"}, order="hold"), Pool(name="default"))
    ask(driver, QueuePolicy(pools=pools, quotas=(msgspec.structs.replace(ACME, pool="big"),)))
    driver.submit(a_job(1, gpus=3, pool="big"))
    driver.tick(600)
    driver.submit(a_job(2, gpus=2, pool="big"))
    again = SchedulerCore()
    again.restore(driver.core.snapshot())
    was, now = driver.core.state, again.state
    assert (now.rules.held, now.rules.keys) == (was.rules.held, was.rules.keys)
    assert now.heads == was.heads
    assert now.shares.keep() == was.shares.keep()
    assert now.shares.sizes == was.shares.sizes
    for name, account in was.shares.quotas.items():
        other = now.shares.quotas[name]
        assert (other.held_gpu, other.held_cpu) == (account.held_gpu, account.held_cpu)
        assert (other.waiting_jobs, other.waiting_gpu) == (
            account.waiting_jobs,
            account.waiting_gpu,
        )
