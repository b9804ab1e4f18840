"""Does the queue do on a real mesh what an operator's policy says, and say so?"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from e2e.mesh import Mesh, until
from e2e.raw import RawClient, a_job

TWO_HALVES = """
[[pools]]
name = "default"
[[quotas]]
name = "a-half"
tenant = "alpha"
guaranteed_gpus = 2
[[quotas]]
name = "b-half"
tenant = "beta"
guaranteed_gpus = 2
"""
SAVES = 'trap "echo saved >> \\"$FILE\\"; exit 75" USR1; echo begun >> "$FILE"; sleep 60 & wait'


@pytest.fixture(scope="module")
def queue_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path_factory.mktemp("queue"), "--simulate", "2x2xH100", "--no-local-node")
    mesh.start()
    yield mesh
    mesh.stop()


@pytest.fixture
async def tenants(queue_mesh: Mesh) -> AsyncIterator[RawClient]:
    """Nothing of the tests' tenants is left running or waiting afterwards."""
    mesh = queue_mesh
    async with await RawClient.connect(mesh.nats_url, mesh.creds) as client:
        for tenant in ("alpha", "beta", "gamma"):
            await client.follow(tenant)
        yield client
    live = [job for job in mesh.jobs() if job["state"] in ("queued", "placed", "running")]
    for job in live:
        mesh.cli("cancel", job["job_id"], "--tenant", job["tenant"], exit_code=None)
    apply(mesh, "")


def apply(mesh: Mesh, text: str, *arguments: str, exit_code: int = 0) -> str:
    file = mesh.home / "policy.toml"
    file.write_text(text, "utf-8")
    done = mesh.cli("apply", str(file), *(arguments or ("--yes",)), exit_code=exit_code)
    return done.stdout + done.stderr


def a_saving_job(file: Path, **fields: Any) -> dict[str, Any]:
    return a_job(
        "sh", "-c", SAVES, env={"FILE": str(file)}, gpus=1, checkpoint_signal="SIGUSR1", **fields
    )


def heard(client: RawClient, jobs: list[dict[str, Any]], fact: str) -> list[dict[str, Any]]:
    """Those of the jobs of which that was told."""
    return [job for job in jobs if any(f["fact"] == fact for f in client.facts[job["job_id"]])]


def quota(mesh: Mesh, name: str) -> dict[str, Any]:
    (found,) = [one for one in mesh.cli_json("queue")["quotas"] if one["name"] == name]
    return dict(found)


def test_a_policy_is_shown_before_it_acts_and_a_bad_one_is_refused_by_line(
    queue_mesh: Mesh,
) -> None:
    mesh = queue_mesh
    shown = apply(mesh, TWO_HALVES, "--dry-run")
    assert "a-half" in shown
    assert mesh.cli_json("queue").get("quotas", []) == []
    apply(mesh, TWO_HALVES)
    assert quota(mesh, "a-half")["guaranteed_gpu_milli"] == 2_000
    said = apply(mesh, TWO_HALVES + 'parent = "nobody"\n', exit_code=2)
    assert "policy.toml:12: " in said
    assert "nobody" in said
    assert quota(mesh, "a-half")["guaranteed_gpu_milli"] == 2_000
    apply(mesh, "")
    assert mesh.cli_json("queue").get("quotas", []) == []


@pytest.mark.lesson(4, 15)
async def test_what_was_borrowed_is_given_back_after_it_was_saved_and_no_more_than_that(
    queue_mesh: Mesh, tenants: RawClient, tmp_path: Path
) -> None:
    mesh = queue_mesh
    apply(mesh, TWO_HALVES)
    borrowers = [a_saving_job(tmp_path / f"{index}", grace_s=5) for index in range(4)]
    await tenants.submit("alpha", *borrowers)
    for job in borrowers:
        await tenants.until_fact(job["job_id"], "running")
    owner = a_job("sleep", "1", gpus=1)
    await tenants.submit("beta", owner)
    await tenants.until_fact(owner["job_id"], "succeeded", timeout_s=30)
    (job,) = heard(tenants, borrowers, "preempted")
    file = Path(job["env"]["FILE"])
    until(lambda: file.read_text().split() == ["begun", "saved", "begun"], 20, "it runs again")
    attempts = {fact["attempt"] for fact in tenants.facts[job["job_id"]]}
    assert attempts == {1, 2}


async def test_spot_work_yields_first_though_its_tenant_is_within_its_guarantee(
    queue_mesh: Mesh, tenants: RawClient, tmp_path: Path
) -> None:
    mesh = queue_mesh
    apply(mesh, TWO_HALVES)
    jobs = [a_saving_job(tmp_path / f"{index}", grace_s=5) for index in range(3)]
    spot = a_saving_job(tmp_path / "spot", grace_s=5, tier="spot")
    await tenants.submit("alpha", spot, *jobs)
    for job in (spot, *jobs):
        await tenants.until_fact(job["job_id"], "running")
    owner = a_job("sleep", "1", gpus=1)
    await tenants.submit("beta", owner)
    await tenants.until_fact(spot["job_id"], "preempted", timeout_s=30)
    await tenants.until_fact(owner["job_id"], "succeeded", timeout_s=30)
    assert heard(tenants, jobs, "preempted") == []


async def test_reserved_nodes_are_cleared_in_time_and_given_to_nobody_else(
    queue_mesh: Mesh, tenants: RawClient, tmp_path: Path
) -> None:
    mesh = queue_mesh
    nodes = sorted(mesh.nodes())
    jobs = [a_saving_job(tmp_path / f"{index}", grace_s=1) for index in range(4)]
    await tenants.submit("gamma", *jobs)
    for job in jobs:
        await tenants.until_fact(job["job_id"], "running")
    begin = datetime.now(UTC) + timedelta(seconds=4)
    apply(
        mesh,
        f"""
[[reservations]]
name = "alpha-hour"
start = {begin:%Y-%m-%dT%H:%M:%SZ}
end = {begin + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}
nodes = ["{nodes[0]}"]
tenant = "alpha"
""",
    )
    owner = a_job("true", gpus=2)
    until(lambda: time.time() > begin.timestamp(), what="the reservation begins")
    await tenants.submit("alpha", owner)
    placed = await tenants.until_fact(owner["job_id"], "placed", timeout_s=30)
    assert placed["nodes"] == [nodes[0]]
    yielded = [j for j in jobs if any(f["fact"] == "queued" and f["attempt"] == 2
                                      for f in tenants.facts[j["job_id"]])]  # fmt: skip
    assert len(yielded) == 2
    await tenants.until_ended(owner["job_id"])
    why = mesh.cli_json("explain", yielded[0]["job_id"])
    assert "alpha-hour" in str(why)
