"""Of those who may be asked to yield: who is?"""

from __future__ import annotations

from penstock_contracts.queue_facts import BACKFILL, KeptRank, PlaceKept
from tests.scheduler.driver import a_job, a_node
from tests.scheduler.yielding import a_mesh, a_quota, granted, running, stopped, yields


def test_those_yield_of_whom_least_is_lost_and_no_more_than_are_needed() -> None:
    driver = a_mesh(a_node("n1", gpus=4), quotas=(a_quota("a", 4), a_quota("b", 0)))
    young, old = a_job(1, gpus=1), a_job(2, gpus=1)
    saves = a_job(3, gpus=1, checkpoint_signal="SIGUSR1")
    often = a_job(4, gpus=1, checkpoint_s=60)
    running(driver, saves, often, old, tenant="b")
    driver.tick(3600)
    running(driver, young, tenant="b")
    driver.tick(100)
    driver.submit(a_job(9, gpus=3), tenant="a")
    assert set(stopped(driver.tick())) == {saves.job_id, often.job_id, young.job_id}


def test_of_several_nodes_that_one_is_cleared_where_least_is_lost() -> None:
    driver = a_mesh(
        *(a_node(f"n{i}", gpus=4) for i in range(3)), quotas=(a_quota("a", 4), a_quota("b", 0))
    )
    jobs = [a_job(n, gpus=1, checkpoint_s=None if n % 4 else 60) for n in range(1, 13)]
    running(driver, *jobs, tenant="b")
    driver.tick(600)
    node = driver.grant_of(jobs[5])[0].ranks[0].node
    there = [job for job in jobs if driver.grant_of(job)[0].ranks[0].node == node]
    for job in there[1:]:
        driver.end(job)
    driver.submit(*(a_job(20 + n, gpus=1, checkpoint_s=30) for n in range(3)), tenant="b")
    driver.submit(a_job(30, gpus=4), tenant="a")
    ranks = next(f for f in driver.tick() if isinstance(f, PlaceKept)).ranks
    assert [rank.node for rank in ranks] == [node]


def test_spot_work_yields_to_all_else_and_takes_from_nobody() -> None:
    driver = a_mesh(a_node("n1", gpus=2))
    spot, other = a_job(1, gpus=1, tier="spot"), a_job(2, gpus=1)
    running(driver, spot, other, tenant="x")
    driver.submit(a_job(3, gpus=1, tier="spot", priority=9), tenant="y")
    assert not stopped(driver.tick())
    wants = a_job(4, gpus=1, priority=0)
    driver.submit(wants, tenant="y")
    assert stopped(driver.tick()) == [spot.job_id]
    assert granted(yields(driver, spot)) == [wants.job_id]


def test_a_lower_class_yields_to_a_higher_one_of_its_quota_where_the_pool_says_so() -> None:
    for preempt in ("none", "reclaim", "all"):
        driver = a_mesh(a_node("n1", gpus=2), preempt=preempt)
        low, high = a_job(1, gpus=1, priority=3), a_job(2, gpus=1, priority=5)
        running(driver, low, high, tenant="x")
        driver.submit(a_job(3, gpus=1, priority=5), tenant="x")
        assert stopped(driver.tick()) == ([low.job_id] if preempt == "all" else [])


def test_what_has_long_to_go_yields_to_what_is_done_soon_and_never_the_other_way() -> None:
    driver = a_mesh(a_node("n1", gpus=1), preempt="all")
    long = a_job(1, gpus=1, time_limit_s=3600, checkpoint_signal="SIGUSR1")
    running(driver, long, tenant="x")
    driver.submit(a_job(2, gpus=1, time_limit_s=500), tenant="x")
    assert not stopped(driver.tick()), "not by far enough"
    short = a_job(3, gpus=1, time_limit_s=400)
    driver.submit(short, tenant="x")
    assert stopped(driver.tick()) == [long.job_id]
    assert granted(yields(driver, long)) == [short.job_id]
    driver.start(short)
    assert driver.core.state.jobs[long.job_id].saved_ms == 2_000
    assert not stopped(driver.tick(1))


def test_a_gang_takes_the_places_of_as_few_as_will_do() -> None:
    quotas = (a_quota("a", 8), a_quota("b", 8), a_quota("c", 0))
    driver = a_mesh(*(a_node(f"n{i}", gpus=4) for i in range(4)), quotas=quotas)
    gang = a_job(1, gpus=4, ranks=2)
    running(driver, gang, tenant="c")
    running(driver, *(a_job(n, gpus=1) for n in range(2, 10)), tenant="b")
    wants = a_job(20, gpus=4, ranks=2)
    driver.submit(wants, tenant="a")
    assert stopped(driver.tick()) == [gang.job_id]
    driver.end(gang, 0, code=None, signal=15, reason="preempted")
    assert granted(driver.end(gang, 1, code=None, signal=15, reason="preempted")) == [wants.job_id]


def test_spot_work_yields_first_also_where_a_place_is_kept_beside_other_work() -> None:
    quotas = (a_quota("a", 2), a_quota("b", 2))
    driver = a_mesh(a_node("n1", gpus=2), a_node("n2", gpus=2), quotas=quotas, backfill="easy")
    jobs = [a_job(n, gpus=1, checkpoint_signal="SIGUSR1") for n in range(1, 4)]
    spot = a_job(4, gpus=1, tier="spot", checkpoint_signal="SIGUSR1")
    running(driver, *jobs, spot, tenant="a")
    wants = a_job(5, gpus=1)
    driver.submit(wants, tenant="b")
    node = driver.grant_of(spot)[0].ranks[0].node
    devices = next(grant.devices for grant in driver.grant_of(jobs[0])[0].ranks)
    other = driver.grant_of(jobs[0])[0].ranks[0].node
    assert other != node
    ranks = (KeptRank(0, other, devices),)
    far_ms = driver.now_ns // 1_000_000 + 600_000
    driver.fold(PlaceKept(wants.job_id, ranks, far_ms, BACKFILL, awaits=(jobs[0].job_id,)))
    assert stopped(driver.tick()) == [spot.job_id]
    assert granted(yields(driver, spot)) == [wants.job_id]
