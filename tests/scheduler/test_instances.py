"""Who gets an instance of a GPU? Whoever names its model and wants one device, and nobody else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock_contracts.journal import JobRejected, LeaseGranted
from penstock_contracts.nodes import Device, NodeDescription, is_instance
from tests.scheduler.driver import Driver, a_job, a_node

SLICE = "H100-1g.10gb"


def a_cut_node(whole: int = 7, slices: int = 7) -> NodeDescription:
    """Whole H100s, and instances of one more."""
    node = a_node("n1", whole)
    cut = tuple(
        Device(uuid=f"MIG-{i}", index=whole, model=SLICE, memory_mib=10_240, parent="GPU-7")
        for i in range(slices)
    )
    return msgspec.structs.replace(node, devices=node.devices + cut)


def devices(facts: list[Any]) -> list[str]:
    grants = [fact for fact in facts if isinstance(fact, LeaseGranted)]
    return [uuid for grant in grants for rank in grant.ranks for uuid in rank.devices]


def refused(facts: list[Any]) -> bool:
    return any(isinstance(fact, JobRejected) for fact in facts)


def test_who_names_no_model_gets_whole_gpus_only() -> None:
    driver = Driver(a_cut_node())
    assert len(devices(driver.submit(a_job(1, gpus=7)))) == 7
    assert devices(driver.submit(a_job(2, gpus=1))) == []
    assert refused(driver.submit(a_job(3, gpus=8)))


def test_who_names_an_instance_gets_one_for_each_rank() -> None:
    driver = Driver(a_cut_node())
    (one,) = devices(driver.submit(a_job(1, gpus=1, gpu_models=(SLICE,))))
    gang = devices(driver.submit(a_job(2, ranks=6, gpus=1, gpu_models=(SLICE,))))
    assert sorted([one, *gang]) == [f"MIG-{i}" for i in range(7)]


@pytest.mark.parametrize("ranks", [1, 2])
def test_no_rank_gets_two_instances(ranks: int) -> None:
    driver = Driver(a_cut_node())
    assert refused(driver.submit(a_job(1, ranks=ranks, gpus=2, gpu_models=(SLICE,))))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("H100", False),
        ("RTX-4090", False),
        ("H100-1g.10gb", True),
        ("H100-1g.10gb+me", True),
        ("A100-1c.3g.20gb", True),
        ("H100-MIG", True),
    ],
)
def test_an_instance_is_known_by_its_model(model: str, expected: bool) -> None:
    assert is_instance(model) is expected
