"""What do `penstock apply` and `penstock queue` send, show and refuse?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from client.builders import a_node_view
from client.conftest import Penstock
from client.mesh import FakeMesh
from client.policies import POLICY, PolicyMesh, succeeded
from penstock_client.commands.queue_tables import in_tree
from penstock_client.policy_file import read_policy
from penstock_client.queueing import warnings
from penstock_contracts.errors import Refusal
from penstock_contracts.queue_messages import (
    PlaceKeptView,
    PoolView,
    QueueQuery,
    QueueView,
    QuotaView,
)
from penstock_contracts.queue_policy import (
    Pool,
    QueuePolicy,
    Quota,
    Reservation,
)


@pytest.fixture
async def scheduler(real_mesh: FakeMesh) -> PolicyMesh:
    return await PolicyMesh(real_mesh).start()


FILE = """\
[[quotas]]
name = "org"
guaranteed_gpus = 6

[[quotas]]
name = "vision"
parent = "org"
tenant = "acme"
guaranteed_gpus = 4
weight = 2
"""


async def test_a_file_is_applied_once_its_changes_are_agreed_to(
    scheduler: PolicyMesh, penstock: Penstock, tmp_path: Path
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(FILE)
    dry = await penstock("apply", str(path), "--dry-run")
    said = ["~ quota org: guaranteed_gpus 8 → 6", "~ quota vision: weight 1 → 2"]
    assert succeeded(dry).splitlines() == said
    assert b"6 GPUs are guaranteed in pool default, which has 1 now" in dry.err
    assert (await penstock("apply", str(path), input=b"n\n")).code == 1
    assert scheduler.wishes == []
    done = await penstock("apply", str(path), input=b"y\n")
    assert succeeded(done).splitlines() == [*said, "version 4 holds"]
    assert b"Apply these changes (2)?" in done.err
    assert scheduler.held.policy == read_policy(FILE.encode())
    again = await penstock("apply", str(path))
    assert succeeded(again) == "as it was: version 4 holds\n"
    assert len(scheduler.wishes) == 1


async def test_what_is_applied_is_told_as_json(scheduler: PolicyMesh, penstock: Penstock) -> None:
    assert (await penstock("apply", "-", "--json", input=FILE.encode())).code == 2
    done = await penstock("apply", "-", "--json", "--yes", input=FILE.encode())
    told = msgspec.json.decode(succeeded(done))
    assert (told["version"], told["applied"], len(told["changes"])) == (4, True, 2)
    assert told["changes"][0]["field"] == "guaranteed_gpus"
    assert "1 now" in told["warnings"][0]


async def test_a_file_at_fault_is_refused_with_lines_and_rules(
    scheduler: PolicyMesh, penstock: Penstock, tmp_path: Path
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(FILE.replace("weight = 2", "weight = -2"))
    done = await penstock("apply", str(path), "--yes")
    assert done.code == 2
    assert f"{path}:10: invalid_field: weight = -2 is not a whole number" in done.err.decode()
    path.write_text(FILE.replace("= 6", "= 3").replace("weight = 2", 'pool = "no"'))
    done = await penstock("apply", str(path), "--yes", "--json")
    assert done.code == 2
    faults = msgspec.json.decode(done.out)["faults"]
    assert [(one["line"], one["code"]) for one in faults] == [
        (9, "guarantees_over_parent"),
        (10, "unknown_pool"),
    ]
    assert scheduler.wishes == []


async def test_nodes_that_are_there_count_where_reservations_overlap(
    scheduler: PolicyMesh, penstock: Penstock
) -> None:
    (node,) = scheduler.nodes
    labelled = replace(node, description=replace(node.description, labels={"rack": "r1"}))
    scheduler.nodes = (labelled,)
    window = "start = 2026-12-01\nend = 2026-12-02\n"
    text = f'[[reservations]]\nname = "a"\n{window}nodes = ["node-a"]\n'
    text += f'[[reservations]]\nname = "b"\n{window}node_labels = {{ rack = "r1" }}\n'
    done = await penstock("apply", "-", "--yes", input=text.encode())
    assert done.code == 2
    assert done.err.startswith(
        b"<stdin>:10: reservations_overlap: reservation b: a has node node-a"
    )


async def test_a_file_is_applied_without_the_inventory_and_that_is_said(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    scheduler = await PolicyMesh(real_mesh).start(has_inventory=False)
    done = await penstock("apply", "-", "--yes", input=FILE.encode())
    assert succeeded(done).endswith("version 4 holds\n")
    assert b"inventory does not answer; the policy was not compared" in done.err
    assert len(scheduler.wishes) == 1


async def test_a_policy_that_others_have_changed_meanwhile_is_not_overwritten(
    scheduler: PolicyMesh, penstock: Penstock
) -> None:
    scheduler.refuses = [Refusal("policy_changed", "version 9 holds by now")]
    done = await penstock("apply", "-", "--yes", input=FILE.encode())
    assert done.code == 2
    assert b"policy_changed: version 9 holds by now" in done.err
    scheduler.refuses = [Refusal("policy_changed", "version 9 holds by now")]
    succeeded(await penstock("quota", "remove", "vision"))
    assert [len(wish.policy.quotas) for wish in scheduler.wishes] == [2, 1, 1]
    assert len({wish.key for wish in scheduler.wishes}) == 3


def a_quota(name: str, **fields: Any) -> QuotaView:
    return QuotaView(**{"name": name, "parent": "", "pool": "default", **fields})


VIEW = QueueView(
    seq=9,
    version=3,
    pools=(
        PoolView(
            name="default", order="tiered", backfill="easy", preempt="reclaim", nodes=2,
            nodes_open=1, gpu_milli=16_000, gpu_milli_held=12_500, cpu_milli=0, cpu_milli_held=0,
            waiting_jobs=7, waiting_gpu_milli=20_000, head="01JOB", held_up=True,
            kept=(
                PlaceKeptView(
                    job_id="01JOB", tenant="acme", cause="backfill", at_ms=0, gpu_milli=8_000,
                    nodes=("node-a",), nodes_more=2,
                ),
            ),
        ),
    ),
    quotas=(
        a_quota("vision", parent="org", tenant="acme", project="v", owed_milli=2_000,
                share_milli=333, fair_milli=500),
        a_quota("org", over_milli=1_500, guaranteed_gpu_milli=8_000),
    ),
)  # fmt: skip


async def test_the_queue_shows_pools_shares_and_who_is_over_and_under(
    scheduler: PolicyMesh, penstock: Penstock
) -> None:
    def answer(payload: bytes) -> QueueView:
        """In pages."""
        after = msgspec.json.decode(payload, type=QueueQuery).after
        return replace(VIEW, quotas=VIEW.quotas[1:] if after else VIEW.quotas[:1], more=not after)

    await scheduler.mesh.answer("query.scheduler.queue", answer)
    shown = succeeded(await penstock("queue"))
    rows = [line.split() for line in shown.splitlines() if line]
    assert " ".join(rows[1]) == (
        "default tiered easy reclaim 2 1 16 12.5 7 20 01JOB holds up the others"
    )
    assert rows[3][0] == "org" and "1.5 over" in shown
    assert rows[4][:3] == ["vision", "default", "acme/v"] and "2 owed" in shown
    assert "33.3 %" in shown and "node-a and 2 more" in shown
    told = msgspec.json.decode(succeeded(await penstock("queue", "--json")), type=QueueView)
    assert told == VIEW
    assert (await penstock("queue", "--pool", "none")).code == 2
    listed = succeeded(await penstock("quota", "list", "--pool", "default"))
    assert listed.splitlines()[1:] == shown.splitlines()[4:6]
    assert succeeded(await penstock("pool", "list")).splitlines() == shown.splitlines()[:2]


async def test_the_policy_is_printed_as_a_file_that_says_the_same(
    scheduler: PolicyMesh, penstock: Penstock
) -> None:
    text = succeeded(await penstock("queue", "--toml"))
    assert read_policy(text.encode()) == POLICY


def test_quotas_stand_below_their_parents() -> None:
    found = in_tree((a_quota("b", parent="a"), a_quota("a"), a_quota("c", parent="elsewhere")))
    assert [(depth, one.name) for depth, one in found] == [(0, "a"), (1, "b"), (0, "c")]


def test_an_operator_is_warned_of_what_the_nodes_do_not_allow() -> None:
    policy = QueuePolicy(
        pools=(Pool(name="h100", node_labels={"gpu": "h100"}),),
        quotas=(
            Quota(name="a", tenant="a", guaranteed_gpu_milli=500, maximum_gpu_milli=9_000),
            Quota(name="b"),
        ),
        reservations=(Reservation(name="r", start_ms=0, end_ms=1, nodes=("gone",)),),
    )
    assert warnings(policy, [a_node_view()]) == (
        "pool h100 has no node now",
        "1 nodes are in no pool and get no work: node-a",
        "quota b counts no jobs: it names no tenant, and no quota is below it",
        "0.5 GPUs are guaranteed in pool h100, which has 0 now",
        "quota a: its maximum of 9 GPUs bounds nothing, pool h100 has 0",
        "reservation r: there is no node gone now",
    )
    assert warnings(QueuePolicy(), [a_node_view()]) == ()
