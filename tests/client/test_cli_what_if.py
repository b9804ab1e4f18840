"""What does `penstock simulate what-if` ask the mesh for, and what does it say?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from client.builders import a_node_view
from client.conftest import Penstock
from client.mesh import FakeMesh
from client.policies import PolicyMesh, succeeded
from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.queries import JobsView, JobView
from penstock_contracts.queue_policy import PolicyVersion, QueuePolicy

NOW_MS = 1_800_000_000_000


def a_job(number: int) -> JobView:
    """It wanted one GPU for 100 s, and so did all others at the same time."""
    return JobView(
        job_id=ulid(NOW_MS, number),
        tenant="acme",
        state="succeeded",
        attempt=1,
        spec=JobSpec(job_id=ulid(NOW_MS, number), command=("train",), gpus=1),
        submitted_ms=NOW_MS,
        started_ms=NOW_MS + 1_000,
        finished_ms=NOW_MS + 101_000,
    )


@pytest.fixture
async def mesh_of_jobs(real_mesh: FakeMesh) -> PolicyMesh:
    scheduler = await PolicyMesh(real_mesh).start()
    scheduler.held = PolicyVersion(0, QueuePolicy())
    finished: Any = JobsView(tuple(map(a_job, range(4))))
    await real_mesh.answer("query.scheduler.jobs", lambda _: JobsView(()))
    await real_mesh.answer("query.metering.jobs", lambda _: finished)
    return scheduler


async def test_it_says_what_more_gpus_would_have_done_for_the_mesh_s_own_jobs(
    mesh_of_jobs: PolicyMesh, penstock: Penstock
) -> None:
    done = await penstock("simulate", "what-if", "--add", "3xH100", "--json")
    before, after, difference = map(json.loads, succeeded(done).splitlines())
    assert (before["gpus"], after["gpus"]) == (1, 4)
    assert before["queueing_s"]["mean"] == 150
    assert difference["difference"]["queueing_mean_s"] == -150
    spoken = await penstock("simulate", "what-if", "--add", "3xH100")
    assert "0.0 s instead of 150.0 s" in succeeded(spoken)


async def test_it_compares_the_policy_that_holds_with_that_of_a_file_and_nodes_with_fewer(
    mesh_of_jobs: PolicyMesh, penstock: Penstock, tmp_path: Path
) -> None:
    mesh_of_jobs.nodes = (a_node_view(), a_node_view("node-b"))
    path = tmp_path / "policy.toml"
    path.write_text('[[pools]]\nname = "default"\norder = "fifo"\n')
    done = await penstock(
        "simulate", "what-if", "--remove", "node-b", "--policy", str(path), "--json"
    )
    before, after, _ = map(json.loads, succeeded(done).splitlines())
    assert (before["gpus"], after["gpus"]) == (2, 1)
    assert (before["queueing_s"]["mean"], after["queueing_s"]["mean"]) == (50, 150)


async def test_what_makes_no_sense_is_refused(
    mesh_of_jobs: PolicyMesh, penstock: Penstock, tmp_path: Path
) -> None:
    assert (await penstock("simulate", "what-if", "--add", "many")).code == 2
    unknown = await penstock("simulate", "what-if", "--remove", "node-x")
    assert (unknown.code, b"unknown_node" in unknown.err) == (2, True)
    path = tmp_path / "policy.toml"
    path.write_text('[[quotas]]\nname = "a"\nparent = "a"\n')
    cycle = await penstock("simulate", "what-if", "--policy", str(path))
    assert (cycle.code, b"policy.toml:" in cycle.err) == (2, True)
