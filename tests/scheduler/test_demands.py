"""Can everything that a job may demand or limit keep it waiting, refuse it, or reach its host?

A demand that is accepted and then counts for nothing is worse than one that is refused. A new field
of the job must be entered here before these tests pass.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import JobRejected, LeaseGranted
from penstock_contracts.work import OFFERS, Container, Input, Output, Secret
from penstock_scheduler.core.orders.desired import order_of
from tests.scheduler.driver import Driver, a_job, a_node

NOT_A_DEMAND = {"job_id", "command", "name", "env", "labels", "priority", "retries"}
WHO_PAYS = {"project", "tier"}
"""What they lead to: `test_budgets`."""
IN_LINE = {"pool", "deadline_ms", "checkpoint_signal", "checkpoint_s"}
"""Whose turn it is and who yields: `test_pools`, `test_order`, `test_preemption`."""

DEMANDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gpus": ({"gpus": 4}, {"gpus": 5}),
    "ranks": ({"gpus": 2, "ranks": 2}, {"gpus": 2, "ranks": 3}),
    "gpu_milli": ({"gpus": 1, "gpu_milli": 250}, {"gpus": 1, "gpu_milli": 251}),
    "gpu_memory_mib": (
        {"gpus": 1, "gpu_memory_mib": 81_920},
        {"gpus": 1, "gpu_memory_mib": 81_921},
    ),
    "gpu_models": (
        {"gpus": 1, "gpu_models": ("B200", "H100")},
        {"gpus": 1, "gpu_models": ("B200",)},
    ),
    "cpu_milli": ({"cpu_milli": 64_000}, {"cpu_milli": 64_001}),
    "memory_mib": ({"memory_mib": 524_288}, {"memory_mib": 524_289}),
}
"""What a node of four H100 can just give, and what it cannot."""

LIMITS = {"time_limit_s": 7, "grace_s": 3, "disconnect_s": 11, "rlimits": {"nofile": 64}}
"""What the host of the work enforces."""

OFFERED: dict[str, dict[str, Any]] = {
    "container": {"container": Container(image="train")},
    "user": {"user": "anna"},
    "pids_max": {"pids_max": 64},
    "private_tmp": {"private_tmp": True},
    "gpu_enforced": {"gpu_enforced": True, "gpus": 1, "gpu_milli": 500},
}
"""What only some hosts can do."""

FILES: dict[str, Any] = {
    "inputs": (Input("object:a", "a"),),
    "outputs": (Output("b", "object:b"),),
    "secrets": (Secret("token", env="TOKEN"),),
}
"""What every host does before and after the work."""

ASKS = {
    "alternatives",
    "near",
    "near_required",
    "spread",
    "spread_ranks",
    "node_labels",
    "apart",
}
"""What is asked of several nodes together, which one node cannot show."""


def test_every_field_of_a_job_is_known_here() -> None:
    fields = {field.name for field in msgspec.structs.fields(JobSpec)}
    enforced = DEMANDS.keys() | LIMITS.keys() | OFFERED.keys() | FILES.keys()
    assert fields == NOT_A_DEMAND | WHO_PAYS | IN_LINE | enforced | ASKS


def kinds(facts: list[Any]) -> set[type]:
    return {type(fact) for fact in facts}


def a_site(demand: str) -> Driver:
    """Four devices; for fractions, all but a quarter of each is taken."""
    driver = Driver(a_node(gpus=4))
    if demand == "gpu_milli":
        driver.submit(*(a_job(100 + n, gpus=1, gpu_milli=750) for n in range(4)))
    return driver


@pytest.mark.lesson(4)
@pytest.mark.parametrize("demand", DEMANDS)
def test_every_demand_can_keep_a_job_off_a_node(demand: str) -> None:
    fits, too_much = DEMANDS[demand]
    assert LeaseGranted in kinds(a_site(demand).submit(a_job(1, **fits)))
    refused = kinds(a_site(demand).submit(a_job(1, **too_much)))
    assert LeaseGranted not in refused
    assert (JobRejected in refused) == (demand != "gpu_milli"), "a fraction may become free"


@pytest.mark.lesson(4)
@pytest.mark.parametrize("demand", DEMANDS)
def test_what_others_hold_counts_against_every_demand(demand: str) -> None:
    fits, _ = DEMANDS[demand]
    driver = a_site(demand)
    driver.submit(*(a_job(n, **fits) for n in range(1, 20)))
    (node,) = driver.core.state.nodes.values()
    assert driver.core.state.leases and len(driver.core.state.line)
    assert min(node.free) >= 0 and node.cpu_free >= 0 and node.memory_free >= 0


@pytest.mark.lesson(4)
def test_every_limit_reaches_the_host_that_enforces_it() -> None:
    driver = Driver(a_node())
    said = LIMITS | FILES
    driver.submit(a_job(1, **said))
    (lease,) = driver.core.state.leases.values()
    order = order_of(lease)
    assert {name: getattr(order, name) for name in said} == said


@pytest.mark.lesson(4)
@pytest.mark.parametrize("wanted", OFFERED)
def test_what_only_some_hosts_can_do_is_asked_of_those_alone(wanted: str) -> None:
    job = a_job(1, **OFFERED[wanted])
    refused = Driver(a_node()).submit(job)
    assert JobRejected in kinds(refused) and LeaseGranted not in kinds(refused)
    able = Driver(a_node(offers=OFFERS))
    assert LeaseGranted in kinds(able.submit(job))
    (lease,) = able.core.state.leases.values()
    assert getattr(order_of(lease), wanted) == OFFERED[wanted][wanted]
