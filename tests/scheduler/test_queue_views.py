"""What does the scheduler show of pools and quotas?"""

from __future__ import annotations

import pytest

from penstock_contracts.journal import PolicySet
from penstock_contracts.queue_facts import KeptRank, PlaceKept
from penstock_contracts.queue_messages import PlaceKeptView, QueueView
from penstock_contracts.queue_policy import Pool, QueuePolicy, Quota
from penstock_scheduler.core.queue import views
from tests.scheduler.driver import SECOND_NS, Driver, a_job, a_node

POLICY = QueuePolicy(
    pools=(Pool(name="fast", node_labels={"gpu": "h100"}), Pool(name="default", order="skip")),
    quotas=(
        Quota(name="org", guaranteed_gpu_milli=6_000),
        Quota(name="acme", parent="org", tenant="acme", guaranteed_gpu_milli=4_000, weight=3),
        Quota(name="beta", parent="org", tenant="beta", guaranteed_gpu_milli=2_000),
    ),
)


def obeying(policy: QueuePolicy, driver: Driver) -> Driver:
    fact = PolicySet(version=1, policy=policy, key="01", set_ms=driver.now_ns // 1_000_000)
    driver.seq += 1
    driver.core.apply(fact, driver.seq, driver.now_ns)
    driver.tick()
    return driver


def shown(driver: Driver) -> QueueView:
    return views.queue_view(driver.core.state, driver.seq, driver.now_ns)


@pytest.fixture
def driver() -> Driver:
    """Two nodes; all of `f1` is held, in a pool of its own."""
    labelled = a_node("f1", labels={"gpu": "h100"})
    driver = obeying(POLICY, Driver(labelled, a_node("n1")))
    driver.submit(a_job(99, gpus=8, pool="fast", node_labels={"gpu": "h100"}), tenant="gamma")
    return driver


def test_a_mesh_without_a_policy_shows_one_pool_of_everything() -> None:
    driver = Driver(a_node("n1"), a_node("n2"))
    driver.submit(a_job(1, gpus=2))
    view = shown(driver)
    assert (view.version, view.quotas, view.more) == (0, (), False)
    (pool,) = view.pools
    assert (pool.name, pool.nodes, pool.nodes_open) == ("default", 2, 2)
    assert (pool.gpu_milli, pool.gpu_milli_held, pool.own_gpu_milli_held) == (16_000, 2_000, 2_000)
    assert views.policy_view(driver.core.state).policy == QueuePolicy()


def test_pools_show_what_is_theirs_held_and_waited_for(driver: Driver) -> None:
    driver.submit(a_job(1, gpus=6), a_job(2, gpus=8))
    fast, rest = shown(driver).pools
    assert (fast.name, rest.name, rest.order) == ("fast", "default", "skip")
    assert (fast.gpu_milli, fast.gpu_milli_held, fast.waiting_jobs) == (8_000, 8_000, 0)
    assert (rest.gpu_milli, rest.gpu_milli_held) == (8_000, 6_000)
    assert (rest.waiting_jobs, rest.waiting_gpu_milli) == (1, 8_000)
    assert (fast.own_gpu_milli_held, rest.own_gpu_milli_held) == (8_000, 0)


def test_a_pool_shows_who_is_first_and_whether_others_wait_for_it(driver: Driver) -> None:
    assert [pool.head for pool in shown(driver).pools] == ["", ""]
    driver.submit(a_job(1, gpus=6), a_job(2, gpus=8), a_job(3, gpus=8))
    assert (shown(driver).pools[1].head, shown(driver).pools[1].held_up) == (a_job(2).job_id, False)
    strict = Driver(a_node("n1"))
    obeying(QueuePolicy(pools=(Pool(name="default", order="fifo", backfill="none"),)), strict)
    strict.submit(a_job(1, gpus=6))
    strict.submit(a_job(2, gpus=8), a_job(3, gpus=1))
    (pool,) = shown(strict).pools
    assert (pool.head, pool.held_up, pool.waiting_jobs) == (a_job(2).job_id, True, 2)


def test_quotas_show_who_is_over_and_who_is_owed_what(driver: Driver) -> None:
    driver.submit(a_job(1, gpus=7))
    driver.submit(a_job(2, gpus=4), tenant="beta")
    acme, beta, org = shown(driver).quotas
    assert (acme.name, acme.held_gpu_milli, acme.over_milli, acme.owed_milli) == (
        "acme", 7_000, 3_000, 0,
    )  # fmt: skip
    assert (beta.held_gpu_milli, beta.waiting_gpu_milli, beta.owed_milli) == (0, 4_000, 2_000)
    assert (org.parent, org.pool, org.held_gpu_milli, org.over_milli) == (
        "", "default", 7_000, 1_000,
    )  # fmt: skip
    assert (acme.parent, acme.tenant, acme.weight, acme.fair_milli) == ("org", "acme", 3, 750)


def test_no_more_is_owed_than_is_wanted(driver: Driver) -> None:
    driver.submit(a_job(1, gpus=8), tenant="gamma")
    driver.submit(a_job(2, gpus=1), tenant="beta")
    assert {quota.name: quota.owed_milli for quota in shown(driver).quotas} == {
        "acme": 0, "beta": 1_000, "org": 1_000,
    }  # fmt: skip


def test_quotas_show_their_share_of_what_their_parent_used(driver: Driver) -> None:
    driver.submit(a_job(1, gpus=6))
    driver.submit(a_job(2, gpus=2), tenant="beta")
    driver.now_ns += 60 * SECOND_NS
    acme, beta, org = shown(driver).quotas
    assert (acme.share_milli, beta.share_milli, org.share_milli) == (750, 250, 1_000)
    assert acme.used_milli_s == pytest.approx(360_000, rel=0.01)


def test_kept_places_are_shown_with_the_pool(driver: Driver) -> None:
    driver.submit(a_job(1, gpus=8))
    driver.submit(a_job(2, gpus=4))
    ranks = (KeptRank(0, "n1", ("n1-0", "n1-1", "n1-2", "n1-3")),)
    at_ms = driver.now_ns // 1_000_000 + 60_000
    fact = PlaceKept(a_job(2).job_id, ranks, at_ms, "backfill")
    driver.core.apply(fact, driver.seq, driver.now_ns)
    rest = shown(driver).pools[1]
    assert rest.kept == (
        PlaceKeptView(
            job_id=a_job(2).job_id,
            tenant="acme",
            cause="backfill",
            at_ms=at_ms,
            gpu_milli=4_000,
            nodes=("n1",),
        ),
    )


def test_more_quotas_than_one_message_holds_come_in_pages(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "PAGE_BYTES_MAX", 0)
    names, more, after = [], True, ""
    while more:
        page = views.queue_view(driver.core.state, driver.seq, driver.now_ns, after)
        names += [quota.name for quota in page.quotas]
        more, after = page.more, names[-1]
    assert names == ["acme", "beta", "org"]
