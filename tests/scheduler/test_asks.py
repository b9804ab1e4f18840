"""Does a job get what it asks of its places, and wait or hear that it never can when it cannot?"""

from __future__ import annotations

from typing import Any

import pytest

from penstock_contracts import nodes
from penstock_contracts.asks import Alternative
from penstock_contracts.jobs import QUEUED, JobSpec
from penstock_contracts.journal import JobRejected, LeaseGranted
from penstock_contracts.leases import Declined, Exited, Released
from penstock_scheduler.core.events import NodeChanged
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.orders.desired import order_of
from penstock_scheduler.core.telling.views import job_view
from tests.scheduler.driver import Driver, a_job, a_node


def in_rack(name: str, rack: str, gpus: int = 4, **fields: Any) -> nodes.NodeDescription:
    return a_node(name, gpus, labels={"rack": rack, "site": "s"}, **fields)


def grants(facts: list[Any]) -> list[LeaseGranted]:
    return [fact for fact in facts if isinstance(fact, LeaseGranted)]


def nodes_of(driver: Driver, job: JobSpec) -> list[str]:
    return [rank.node for rank in driver.core.state.jobs[job.job_id].ranks]


def a_choosy_job(number: int = 1, **fields: Any) -> JobSpec:
    """Two H100, or four L4 at half the speed, or a half of one."""
    slower = Alternative(gpus=4, gpu_models=("L4",), speed_milli=500, cpu_milli=200)
    share = Alternative(gpus=1, gpu_milli=500, gpu_models=("L4",), gpu_memory_mib=40_000)
    fields = {"gpus": 2, "gpu_models": ("H100",), "time_limit_s": 60, **fields}
    return a_job(number, alternatives=(slower, share), **fields)


def test_of_several_choices_the_first_that_fits_now_is_taken() -> None:
    driver = Driver(a_node("h", 2, "H100"), a_node("l", 6, "L4"))
    jobs = [a_choosy_job(number) for number in range(1, 6)]
    given = grants(driver.submit(*jobs))
    assert [grant.alternative for grant in given] == [0, 1, 2, 2, 2]
    assert [grant.gpu_milli for grant in given] == [1000, 1000, 500, 500, 500]
    assert [grant.cpu_milli for grant in given] == [100, 200, 100, 100, 100]
    assert [len(grant.ranks[0].devices) for grant in given] == [2, 4, 1, 1, 1]
    assert [job_view(driver.core.state.jobs[job.job_id]).alternative for job in jobs[:3]] == [
        0,
        1,
        2,
    ]


def test_what_was_taken_reaches_the_host_and_outlives_a_restart() -> None:
    driver = Driver(a_node("l", 4, "L4"))
    job = a_choosy_job()
    driver.submit(job)
    again = SchedulerCore()
    again.restore(driver.core.snapshot())
    for core in (driver.core, again):
        (lease,) = core.state.leases.values()
        order = order_of(lease)
        assert (order.time_limit_s, order.cpu_milli, len(order.devices)) == (120, 200, 4)
        assert order.env["PENSTOCK_ALTERNATIVE"] == "1"
        assert order.env["PENSTOCK_SPEED_MILLI"] == "500"
    assert again.snapshot() == driver.core.snapshot()


def test_a_job_that_was_slower_is_told_the_limit_it_really_had() -> None:
    driver = Driver(a_node("l", 4, "L4"))
    job = a_choosy_job()
    driver.submit(job)
    driver.start(job)
    facts = driver.report(Exited, job, reason="time_limit", signal=15)
    (ended,) = [fact for fact in facts if hasattr(fact, "message")][-1:]
    assert "120 s" in ended.message


def test_a_retry_chooses_anew() -> None:
    driver = Driver(a_node("h", 2, "H100"), a_node("l", 4, "L4"))
    first, second = a_choosy_job(1), a_choosy_job(2, retries=1)
    driver.submit(first, second)
    assert driver.core.state.jobs[second.job_id].alternative == 1
    driver.start(first), driver.end(first)
    driver.start(second), driver.end(second, code=3)
    assert driver.core.state.jobs[second.job_id].alternative == 0
    assert nodes_of(driver, second) == ["h"]


def test_what_waits_for_any_of_its_choices_is_asked_again_when_one_becomes_free() -> None:
    driver = Driver(a_node("h", 2, "H100"), a_node("l", 4, "L4"))
    tenant = a_job(1, gpus=4, gpu_models=("L4",))
    driver.submit(a_job(2, gpus=2, gpu_models=("H100",)), tenant)
    waiting = a_choosy_job(3)
    assert not grants(driver.submit(waiting))
    driver.start(tenant)
    driver.end(tenant)
    assert nodes_of(driver, waiting) == ["l"]


def test_a_gang_that_demands_one_rack_waits_for_it_and_one_that_wishes_it_does_not() -> None:
    driver = Driver(in_rack("a1", "a"), in_rack("a2", "a"), in_rack("b1", "b"))
    other = a_job(1, gpus=4, node_labels={"rack": "a"})
    driver.submit(other)
    demands = a_job(2, ranks=2, gpus=4, near="rack", near_required=True)
    assert not grants(driver.submit(demands))
    wishes = a_job(3, ranks=2, gpus=4, near="rack")
    driver.submit(wishes)
    assert len(nodes_of(driver, wishes)) == 2
    for job in (other, wishes):
        driver.start(job)
        for rank in range(job.ranks):
            driver.end(job, rank)
    assert sorted(nodes_of(driver, demands)) == ["a1", "a2"]


@pytest.mark.parametrize(
    ("demand", "named"),
    [
        ({"node_labels": {"zone": "moon"}}, "on nodes with zone=moon"),
        ({"ranks": 2, "gpus": 4, "near": "node", "near_required": True}, "in one node"),
        ({"ranks": 3, "gpus": 1, "spread": "rack"}, "at most 1 rank(s) in one rack"),
        ({"gpus": 2, "near": "link", "near_required": True}, "in one link domain"),
    ],
    ids=str,
)
def test_a_demand_that_no_node_can_ever_meet_is_refused_by_name(demand: dict, named: str) -> None:
    driver = Driver(in_rack("a1", "a"), in_rack("b1", "b"))
    (rejected,) = [f for f in driver.submit(a_job(1, **demand)) if isinstance(f, JobRejected)]
    assert rejected.refusal.code == "impossible" and named in rejected.refusal.message


def test_a_demand_that_only_others_stand_against_waits() -> None:
    driver = Driver(in_rack("a1", "a", link="x"), in_rack("b1", "b"))
    driver.submit(a_job(1, gpus=4, node_labels={"rack": "a"}), a_job(2, gpus=1))
    asks = ({"near": "link"}, {"near": "node"}, {"near": "rack"})
    for number, ask in enumerate(asks, 10):
        facts = driver.submit(a_job(number, gpus=4, ranks=1, near_required=True, **ask))
        assert not any(isinstance(fact, JobRejected) for fact in facts)
    both = a_job(3, gpus=4, alternatives=(Alternative(gpus=9),), node_labels={"rack": "a"})
    assert not any(isinstance(fact, JobRejected) for fact in driver.submit(both))


def test_jobs_kept_apart_share_no_node_with_each_other_but_with_anybody_else() -> None:
    driver = Driver(a_node("n1", 8), a_node("n2", 8))
    replicas = [a_job(number, gpus=1, apart="database") for number in range(1, 4)]
    driver.submit(*replicas)
    assert sorted(nodes_of(driver, job)[0] for job in replicas[:2]) == ["n1", "n2"]
    assert driver.core.state.jobs[replicas[2].job_id].state == QUEUED
    driver.submit(a_job(4, gpus=1), a_job(5, gpus=1, apart="cache"))
    others = a_job(6, gpus=1, apart="database")
    driver.submit(others, tenant="other")
    assert nodes_of(driver, others), "the word is the tenant's own"
    driver.start(replicas[1])
    driver.end(replicas[1])
    assert nodes_of(driver, replicas[2]) == [
        grant.ranks[0].node for grant in grants(driver.facts) if grant.job_id == replicas[1].job_id
    ]


def test_ranks_of_one_job_kept_apart_from_others_may_share_a_node() -> None:
    driver = Driver(a_node("n1", 8))
    gang = a_job(1, ranks=2, gpus=1, apart="x")
    driver.submit(gang)
    assert nodes_of(driver, gang) == ["n1", "n1"]


def test_a_label_that_a_node_gets_later_lets_what_waits_for_it_run() -> None:
    driver = Driver(a_node("n1", 4), a_node("n2", 4, labels={"zone": "a"}))
    driver.submit(a_job(1, gpus=4, node_labels={"zone": "a"}))
    waits = a_job(2, gpus=4, node_labels={"zone": "a"})
    driver.submit(waits)
    assert driver.core.state.jobs[waits.job_id].state == QUEUED
    described = a_node("n1", 4, labels={"zone": "a", "rack": "r"})
    driver.feed(NodeChanged(nodes.NodeRegistered(described)))
    assert nodes_of(driver, waits) == ["n1"]


def test_link_domains_of_devices_reach_the_scheduler_from_the_description_of_a_node() -> None:
    driver = Driver(a_node("n1", 2, link="n1-0"), a_node("n2", 2))
    images = {name: node.image for name, node in driver.core.state.nodes.items()}
    assert images["n1"].links == ("n1-0", "n1-0") and images["n2"].links == ()
    job = a_job(1, gpus=2, near="link", near_required=True)
    driver.submit(job, a_job(2, gpus=2, near="link", near_required=True))
    assert nodes_of(driver, job) == ["n1"]
    assert len(grants(driver.facts)) == 1


def test_a_node_that_refused_is_asked_again_when_no_other_meets_the_demand() -> None:
    driver = Driver(in_rack("a1", "a"), in_rack("b1", "b"))
    job = a_job(1, gpus=1, node_labels={"rack": "a"})
    driver.submit(job)
    driver.report(Declined, job, code="no_port", message="no port is free")
    driver.report(Released, job)
    state = driver.core.state.jobs[job.job_id]
    assert state.avoid == ("a1",) and state.state == QUEUED
    driver.tick(120)
    assert nodes_of(driver, job) == ["a1"]
