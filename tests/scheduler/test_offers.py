"""Does a job run only where the node can do what it wants, and never where the node takes none?"""

from __future__ import annotations

from typing import Any

from penstock_contracts.journal import JobRejected, LeaseGranted
from penstock_contracts.nodes import NO_NEW_WORK, NodeRegistered
from penstock_contracts.work import Container, Input, Secret
from penstock_scheduler.core.events import NodeChanged
from penstock_scheduler.core.orders.desired import order_of
from penstock_scheduler.core.state import Lease
from tests.scheduler.driver import Driver, a_job, a_node

IMAGE = Container(image="train")
PODMAN = ("containers",)


def granted(facts: list[Any]) -> list[str]:
    grants = [fact for fact in facts if isinstance(fact, LeaseGranted)]
    return [rank.node for grant in grants for rank in grant.ranks]


def leases(driver: Driver) -> list[Lease]:
    return list(driver.core.state.leases.values())


def test_a_container_goes_to_a_node_that_runs_containers() -> None:
    driver = Driver(a_node("plain", 8), a_node("podman", 2, offers=PODMAN))
    for number in range(1, 3):
        assert granted(driver.submit(a_job(number, gpus=1, container=IMAGE))) == ["podman"]
    assert granted(driver.submit(a_job(3, gpus=1, container=IMAGE))) == []
    assert granted(driver.submit(a_job(4, gpus=1))) == ["plain"]


def test_the_ranks_of_a_gang_go_where_all_of_them_can_run() -> None:
    nodes = [a_node("plain", 8), *(a_node(f"p{n}", 2, offers=PODMAN) for n in range(2))]
    driver = Driver(*nodes)
    found = granted(driver.submit(a_job(1, ranks=4, gpus=1, container=IMAGE)))
    assert sorted(found) == ["p0", "p0", "p1", "p1"]


def test_what_no_node_offers_is_refused_by_name_and_what_one_comes_to_offer_is_run() -> None:
    driver = Driver(a_node("plain", 8))
    (rejected,) = [
        fact for fact in driver.submit(a_job(1, container=IMAGE)) if isinstance(fact, JobRejected)
    ]
    assert rejected.refusal.code == "impossible"
    assert "on nodes that offer containers" in rejected.refusal.message
    driver.feed(NodeChanged(NodeRegistered(a_node("plain", 8, offers=PODMAN))))
    assert granted(driver.submit(a_job(2, container=IMAGE))) == ["plain"]


def test_an_enforced_part_of_a_gpu_is_placed_only_where_it_is_enforced() -> None:
    driver = Driver(a_node("shared", 1), a_node("mps", 1, offers=("fractions",)))
    for number in range(1, 3):
        job = a_job(number, gpus=1, gpu_milli=500, gpu_enforced=True)
        assert granted(driver.submit(job)) == ["mps"]
    assert granted(driver.submit(a_job(3, gpus=1, gpu_milli=500))) == ["shared"]


def test_a_node_that_takes_no_new_work_gets_none_until_it_does_again() -> None:
    driver = Driver(a_node("n1", 8))
    full = a_node("n1", 8, facts={NO_NEW_WORK: "its disk is full"})
    driver.feed(NodeChanged(NodeRegistered(full)))
    assert granted(driver.submit(a_job(1, gpus=1))) == []
    again = driver.feed(NodeChanged(NodeRegistered(a_node("n1", 8))))
    assert granted(again) == ["n1"]


def test_the_order_says_all_that_is_wanted_around_the_command() -> None:
    job = a_job(
        1,
        container=IMAGE,
        memory_mib=64,
        rlimits={"nofile": 10},
        inputs=(Input("object:a", "a"),),
        secrets=(Secret("token", env="TOKEN"),),
    )
    driver = Driver(a_node("podman", 2, offers=PODMAN))
    driver.submit(job, a_job(2))
    around, plain = (order_of(lease) for lease in leases(driver))
    assert (around.container, around.rlimits) == (job.container, job.rlimits)
    assert (around.inputs, around.secrets) == (job.inputs, job.secrets)
    assert (around.memory_limit_mib, plain.memory_limit_mib) == (64, None)
