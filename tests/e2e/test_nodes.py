"""Do cordon, drain and fence do to a node what an operator means by them?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.mesh import Mesh, until
from e2e.raw import RawClient, a_job


def view_of(mesh: Mesh, node: str) -> dict[str, Any]:
    return mesh.nodes()[node]


@pytest.fixture
def gpu_nodes(mesh: Mesh) -> Iterator[tuple[str, str]]:
    """The two simulated nodes; uncordoned again afterwards."""
    names = ("sim-h100-1", "sim-h100-2")
    yield names
    for node in names:
        mesh.cli("node", "uncordon", node)


def test_nodes_and_node_show_tell_devices_and_liveness(
    mesh: Mesh, gpu_nodes: tuple[str, str]
) -> None:
    text = mesh.cli("nodes").stdout
    for node in gpu_nodes:
        assert node in text
    shown = mesh.cli_json("node", "show", gpu_nodes[0])
    assert len(shown["description"]["devices"]) == 8
    assert {device["model"] for device in shown["description"]["devices"]} == {"H100"}
    assert "H100" in mesh.cli("node", "show", gpu_nodes[0]).stdout


async def test_a_cordoned_node_gets_no_new_work(
    mesh: Mesh, client: RawClient, gpu_nodes: tuple[str, str]
) -> None:
    cordoned, other = gpu_nodes
    await client.follow("cordon")
    mesh.cli("node", "cordon", cordoned)
    assert view_of(mesh, cordoned)["cordoned"] is True
    jobs = [a_job("true", gpus=8) for _ in range(4)]
    await client.submit("cordon", *jobs)
    for job in jobs:
        await client.until_ended(job["job_id"])
        placed = await client.until_fact(job["job_id"], "placed")
        assert placed["nodes"] == [other]
    too_wide = a_job("true", ranks=2, gpus=8)
    await client.submit("cordon", too_wide)
    await client.until_fact(too_wide["job_id"], "queued")
    assert mesh.cli("explain", too_wide["job_id"]).stdout.strip()
    mesh.cli("node", "uncordon", cordoned)
    assert (await client.until_ended(too_wide["job_id"]))["fact"] == "succeeded"


async def test_a_drained_node_lets_running_work_end_and_takes_no_more(
    mesh: Mesh, client: RawClient, gpu_nodes: tuple[str, str]
) -> None:
    await client.follow("drain")
    go = mesh.home / "drained"
    job = a_job("sh", "-c", f'while [ ! -e "{go}" ]; do sleep 0.02; done; exit 6', gpus=8)
    await client.submit("drain", job)
    await client.until_fact(job["job_id"], "running")
    (node,) = (await client.until_fact(job["job_id"], "placed"))["nodes"]
    mesh.cli("node", "drain", node)
    assert view_of(mesh, node)["draining"] is True
    go.touch()
    ended = await client.until_ended(job["job_id"])
    assert (ended["fact"], ended["exit_code"]) == ("failed", 6)


async def test_a_drain_with_a_deadline_stops_and_requeues(
    mesh: Mesh, client: RawClient, gpu_nodes: tuple[str, str]
) -> None:
    await client.follow("drain")
    tally = mesh.home / "moved"
    job = a_job(
        "sh", "-c", f'echo x >> "{tally}"; [ $(wc -l < "{tally}") = 2 ] || sleep 60', gpus=8,
        grace_s=1,
    )  # fmt: skip
    await client.submit("drain", job)
    await client.until_fact(job["job_id"], "running")
    (node,) = (await client.until_fact(job["job_id"], "placed"))["nodes"]
    mesh.cli("node", "drain", node, "--deadline", "1s")
    ended = await client.until_ended(job["job_id"])
    assert (ended["fact"], ended["attempt"]) == ("succeeded", 2)
    assert tally.read_text().split() == ["x", "x"]


async def test_fencing_a_node_ends_its_attempts_as_lost_and_check_stays_clean(
    mesh: Mesh, client: RawClient, gpu_nodes: tuple[str, str]
) -> None:
    await client.follow("fence")
    once, again = a_job("sleep", "60", gpus=1), a_job("sleep", "60", gpus=8, grace_s=1)
    again["retries"] = 1
    for job in (once, again):
        await client.submit("fence", job)
        await client.until_fact(job["job_id"], "running")
    (node,) = (await client.until_fact(again["job_id"], "placed"))["nodes"]
    mesh.cli("node", "fence", node)
    lost = await client.until_fact(again["job_id"], "lost")
    assert lost["attempt"] == 1
    for job in (once, again):
        mesh.cli("cancel", job["job_id"], exit_code=None)
        await client.until_ended(job["job_id"])
    until(lambda: mesh.cli("check", exit_code=None).returncode == 0)
