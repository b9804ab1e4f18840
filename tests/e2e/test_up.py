"""Does `penstock up` start, tell, stop and continue as its users and supervisors expect?

Whole meshes of their own, on fresh homes.
"""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from e2e import processes
from e2e.conftest import MeshFactory
from e2e.mesh import PENSTOCK, SERVICES, Mesh, role_of
from e2e.raw import RawClient, a_job


@pytest.mark.lesson(7)
def test_every_node_is_schedulable_when_it_says_ready_and_not_a_word_before(mesh: Mesh) -> None:
    lines = mesh.output().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("ready"))
    assert not any("ready" in line for line in lines[:first])
    assert "ready" not in mesh.err_file.read_text(encoding="utf-8")
    nodes = mesh.nodes()
    assert len(nodes) == 3
    assert all(view.get("schedulable", True) for view in nodes.values())
    assert {view["liveness"] for view in nodes.values()} == {"alive"}
    assert [len(nodes[f"sim-h100-{n}"]["description"]["devices"]) for n in (1, 2)] == [8, 8]


def test_services_and_agents_and_the_broker_are_direct_children(mesh: Mesh) -> None:
    children = mesh.children()
    roles = sorted(role_of(line) for line in children.values())
    assert roles == sorted(["nats-server", *SERVICES, "agent", "agent", "agent"])
    for line in children.values():
        assert ("agent" in " ".join(line)) == (role_of(line) == "agent"), line


def test_everything_listens_on_loopback_only(mesh: Mesh) -> None:
    pids = {mesh.pid, *mesh.children()}
    inodes = {
        Path(f"/proc/{pid}/fd/{fd.name}").readlink().name.removeprefix("socket:")[1:-1]
        for pid in pids
        for fd in Path(f"/proc/{pid}/fd").iterdir()
        if str(fd.readlink()).startswith("socket:")
    }
    for table, loopback in (("tcp", "0100007F"), ("tcp6", "0" * 24 + "01000000")):
        for row in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = row.split()
            if fields[3] == "0A" and fields[9] in inodes:
                assert fields[1].startswith(loopback), row


@pytest.mark.parametrize(
    "how",
    [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGTERM],
    ids=["SIGINT", "SIGTERM"],
)
async def test_a_later_up_continues_and_requeues_what_was_stopped(
    mesh_factory: MeshFactory, tmp_path: Path, eventually: Any, how: signal.Signals
) -> None:
    mesh = mesh_factory("--simulate", "1x2xH100")
    mesh.start(ignore_sigint=how == signal.SIGINT)
    tally, go = tmp_path / "tally", tmp_path / "go"
    script = f'echo run >> "{tally}"; while [ ! -e "{go}" ]; do sleep 0.02; done; exit 4'
    long = a_job("sh", "-c", script, gpus=2)
    waiting = a_job("true", gpus=2)
    done = mesh.cli("run", "--name", "early", "--", "sh", "-c", "exit 9", exit_code=9)
    assert done.stdout == ""
    async with await RawClient.connect(mesh.nats_url, mesh.creds) as client:
        await client.follow("later")
        await client.submit("later", long)
        await eventually(tally.exists)
        await client.submit("later", waiting)
        await client.until_fact(waiting["job_id"], "queued")
    assert mesh.stop(how) < 15
    go.touch()
    mesh.start()
    async with await RawClient.connect(mesh.nats_url, mesh.creds) as client:

        async def ends_of_both() -> Any:
            facts = await client.stored_facts("later")
            ends = {e["job_id"]: e for e in facts if e["fact"] in ("failed", "succeeded")}
            return ends if len(ends) == 2 else None

        ends = await eventually(ends_of_both, timeout_s=20)
    assert (ends[long["job_id"]]["exit_code"], ends[long["job_id"]]["attempt"]) == (4, 2)
    assert ends[waiting["job_id"]]["exit_code"] == 0
    assert tally.read_text(encoding="ascii") == "run\nrun\n"
    assert mesh.jobs("early")
    assert mesh.cli_json("check")["unaccounted_ms"] == 0
    mesh.stop()


def test_a_directory_in_use_is_refused_with_a_sentence(mesh: Mesh) -> None:
    second = subprocess.run(
        [str(PENSTOCK), "up", "--data", str(mesh.data), "--port", "0", "--http-port", "0"],
        capture_output=True, text=True, env=mesh.env, timeout=30, check=False,
    )  # fmt: skip
    assert second.returncode != 0
    assert "Traceback" not in second.stderr
    assert second.stderr.strip()
    assert mesh.is_up


def test_a_public_address_without_tls_is_refused(mesh_factory: MeshFactory) -> None:
    mesh = mesh_factory("--bind", "0.0.0.0")
    with pytest.raises(AssertionError, match="not ready"):
        mesh.start(timeout_s=20)
    assert "TLS" in mesh.err_file.read_text(encoding="utf-8").upper()


@pytest.mark.parametrize("grace_s", [1, pytest.param(60, marks=pytest.mark.long)])
async def test_jobs_that_ignore_sigterm_end_with_the_mesh_too(
    mesh_factory: MeshFactory, eventually: Any, grace_s: int
) -> None:
    mesh = mesh_factory("--simulate", "1x2xH100")
    mesh.start()
    marker = f"3{mesh.pid:07d}"
    job = a_job("sh", "-c", f"trap '' TERM; sleep {marker}; true", grace_s=grace_s)
    async with await RawClient.connect(mesh.nats_url, mesh.creds) as client:
        await client.submit("stubborn", job)
        sleeping = await eventually(lambda: _sleepers(marker))
    assert not set(sleeping) & mesh.children().keys()
    assert mesh.stop() < 15
    assert _sleepers(marker) == []


def _sleepers(marker: str) -> list[int]:
    line = ("sleep", marker)
    return [pid for pid in processes.all_pids() if processes.command_line(pid) == line]
