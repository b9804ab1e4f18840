"""Is silence taken for what it is: neither an end nor a release?

Frozen agents, services and brokers that thaw again. These take as long as liveness does.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from e2e.mesh import Mesh, until
from e2e.raw import RawClient, a_job

pytestmark = pytest.mark.long

LOST_AFTER_S = 10.0


def agent_of(mesh: Mesh, node: str) -> int:
    (pid,) = [pid for pid in mesh.pids_of("agent") if node in mesh.children()[pid]]
    return pid


@pytest.mark.lesson(2, 12)
async def test_work_on_a_frozen_agents_node_is_kept_and_ends_once(
    rough_mesh: Mesh, rough_client: RawClient, tmp_path: Path, eventually: Any
) -> None:
    await rough_client.follow("frozen")
    tally, go = tmp_path / "tally", tmp_path / "go"
    script = f'echo x >> "{tally}"; while [ ! -e "{go}" ]; do sleep 0.02; done'
    job = a_job("sh", "-c", script, gpus=8, retries=3)
    await rough_client.submit("frozen", job)
    await rough_client.until_fact(job["job_id"], "running")
    (node,) = (await rough_client.until_fact(job["job_id"], "placed"))["nodes"]
    agent = agent_of(rough_mesh, node)
    rough_mesh.kill(agent, signal.SIGSTOP)
    await eventually(lambda: rough_mesh.nodes()[node]["liveness"] == "lost", timeout_s=30)
    elsewhere = a_job("true", gpus=8)
    await rough_client.submit("frozen", elsewhere)
    assert (await rough_client.until_ended(elsewhere["job_id"]))["fact"] == "succeeded"
    go.touch()
    rough_mesh.kill(agent, signal.SIGCONT)
    ended = await rough_client.until_ended(job["job_id"], timeout_s=30)
    assert (ended["fact"], ended["exit_code"], ended["attempt"]) == ("succeeded", 0, 1)
    assert tally.read_text(encoding="ascii") == "x\n"
    await eventually(lambda: rough_mesh.nodes()[node]["liveness"] == "alive", timeout_s=30)
    await eventually(lambda: rough_mesh.cli("check", exit_code=None).returncode == 0, timeout_s=30)


@pytest.mark.lesson(13)
async def test_a_job_with_a_disconnect_limit_moves_on_when_its_agent_is_silent(
    rough_mesh: Mesh, rough_client: RawClient, tmp_path: Path, eventually: Any
) -> None:
    await rough_client.follow("frozen")
    tally = tmp_path / "tally"
    script = f'echo x >> "{tally}"; [ $(wc -l < "{tally}") -gt 1 ] || exec sleep 300; exit 6'
    job = a_job("sh", "-c", script, gpus=8, retries=1, disconnect_s=5, grace_s=1)
    await rough_client.submit("frozen", job)
    await rough_client.until_fact(job["job_id"], "running")
    (node,) = (await rough_client.until_fact(job["job_id"], "placed"))["nodes"]
    agent = agent_of(rough_mesh, node)
    rough_mesh.kill(agent, signal.SIGSTOP)
    try:
        ended = await rough_client.until_ended(job["job_id"], timeout_s=60)
    finally:
        rough_mesh.kill(agent, signal.SIGCONT)
    assert (ended["fact"], ended["exit_code"], ended["attempt"]) == ("failed", 6, 2)
    assert tally.read_text(encoding="ascii") == "x\nx\n"
    await eventually(lambda: rough_mesh.nodes()[node]["liveness"] == "alive", timeout_s=30)
    await eventually(lambda: rough_mesh.cli("check", exit_code=None).returncode == 0, timeout_s=30)


@pytest.mark.lesson(12)
@pytest.mark.parametrize("role", ["inventory", "scheduler", "metering", "nats-server"])
def test_a_frozen_service_accuses_nobody_when_it_thaws(rough_mesh: Mesh, role: str) -> None:
    pid = rough_mesh.pid_of(role)
    before = rough_mesh.children()
    rough_mesh.kill(pid, signal.SIGSTOP)
    thaw_at = time.monotonic() + LOST_AFTER_S + 3
    until(lambda: time.monotonic() > thaw_at, timeout_s=60)
    rough_mesh.kill(pid, signal.SIGCONT)
    until(lambda: rough_mesh.cli("nodes", exit_code=None).returncode == 0)
    assert "lost" not in _liveness(rough_mesh)
    rough_mesh.cli("run", "--gpus", "8", "--", "true")
    assert "lost" not in _liveness(rough_mesh)
    until(lambda: _liveness(rough_mesh) == {"alive"})
    assert rough_mesh.children() == before
    assert rough_mesh.cli_json("check")["unaccounted_ms"] == 0


def _liveness(mesh: Mesh) -> set[str]:
    return {view["liveness"] for view in mesh.nodes().values()}
