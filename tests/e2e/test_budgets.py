"""Does work end before its budget is passed, whoever is away, and is that said?"""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import MeshFactory
from e2e.mesh import Mesh, until

GPU_HOUR = 3_600_000_000
SECOND = 1_000_000
"""Of one GPU, in milli-GPU·ms."""
STUBBORN = "trap '' TERM; while :; do date +%s%N >> \"$0\"; sleep 0.05; done"


@pytest.fixture
def paying_mesh(mesh_factory: MeshFactory) -> Mesh:
    return mesh_factory("--simulate", "1x2xH100").start()


def budget_of(mesh: Mesh, tenant: str) -> dict[str, Any]:
    (found,) = mesh.cli_json("budget", "list", "--tenant", tenant)["budgets"]
    return dict(found)


def is_settled(mesh: Mesh, tenant: str) -> bool:
    """Not while the ledger changes hands."""
    done = mesh.cli("budget", "list", "--tenant", tenant, "--json", exit_code=None)
    if done.returncode:
        return False
    (found,) = json.loads(done.stdout)["budgets"]
    return not found.get("reserved") and found["spent"] > 0


@pytest.mark.lesson(20)
def test_gpu_hours_are_never_passed_though_everybody_who_could_say_so_stands_still(
    paying_mesh: Mesh, tmp_path: Path
) -> None:
    mesh, beats = paying_mesh, tmp_path / "beats"
    mesh.cli(
        "budget", "set", "tight", "--tenant", "acme", "--gpu-hours", "0.0036", "--acts", "stop"
    )
    limit = int(0.0036 * GPU_HOUR)
    job = mesh.popen(
        "run", "--tenant", "acme", "--gpus", "1", "--grace", "1s",
        "--", "sh", "-c", STUBBORN, str(beats),
    )  # fmt: skip
    until(lambda: beats.exists() and beats.read_text().split(), what="the job runs")
    frozen = [pid for role in ("scheduler", "metering", "agent") for pid in mesh.pids_of(role)]
    for pid in frozen:
        mesh.kill(pid, signal.SIGSTOP)
    until(lambda: _is_silent(beats), 30, "the job is ended")
    ran_ns = [int(line) for line in beats.read_text().split()]
    ran_ms = (ran_ns[-1] - ran_ns[0]) // 1_000_000
    assert 9_000 < ran_ms < limit // 1000
    for pid in frozen:
        mesh.kill(pid, signal.SIGCONT)
    _, said = job.communicate(timeout=30)
    assert job.returncode not in (0, None)
    assert "budget" in said
    until(lambda: is_settled(mesh, "acme"), 30, "the attempt is settled")
    found = budget_of(mesh, "acme")
    assert found["limit"] == limit
    assert ran_ms * 1000 <= found["spent"] <= limit
    later = mesh.popen("run", "--tenant", "acme", "--gpus", "1", "--name", "later", "--", "true")
    (waits,) = until(lambda: mesh.jobs("later"), what="the next job")
    why = mesh.cli_json("explain", waits["job_id"])
    assert why["code"] == "waiting_for_budget"
    assert "budget tight of acme" in why["sentence"]
    mesh.cli("cancel", waits["job_id"], "--tenant", "acme")
    later.communicate(timeout=30)


def _is_silent(beats: Path) -> bool:
    last = beats.read_text().split()[-1]
    return time.time_ns() - int(last) > 2_000_000_000


def test_credit_is_charged_what_ran_and_what_is_left_comes_back(paying_mesh: Mesh) -> None:
    mesh = paying_mesh
    mesh.cli("credit", "add", "beta", "1")
    until(lambda: budget_of(mesh, "beta")["limit"] == SECOND, what="the credit is there")
    refused = until(lambda: _refused(mesh), what="the scheduler knows of the credit")
    assert "disconnect" in refused
    mesh.cli("run", "--tenant", "beta", "--gpus", "1", "--disconnect", "1m", "--", "sleep", "1")
    until(lambda: is_settled(mesh, "beta"), 30, "the attempt is settled")
    spent = budget_of(mesh, "beta")["spent"]
    assert 500 <= spent <= 5_000
    over = mesh.cli("credit", "add", "beta", "--", "-2", exit_code=None)
    assert over.returncode == 2
    view = json.loads(mesh.cli("credit", "add", "beta", "--json", "--", "-0.5").stdout)
    assert view["entries"][0]["state"] == "done"
    assert view["entries"][0]["amount_micro"] == -500_000
    assert view["balances"][0]["limit"] == 500_000


def _refused(mesh: Mesh) -> str:
    """What somebody hears who pays in advance and does not say how long he may be alone."""
    done = mesh.cli("run", "--tenant", "beta", "--gpus", "1", "--", "true", exit_code=None)
    return done.stderr if done.returncode == 2 else ""
