"""What survives the rarer blows: to the reaper, to `penstock up` itself, to a run in progress?"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from e2e import processes
from e2e.conftest import MeshFactory
from e2e.mesh import Mesh, until
from e2e.raw import RawClient, a_job

SLOW_LINES = """
import sys, time
for number in range(150):
    print(number, flush=True)
    time.sleep(0.01)
sys.exit(9)
"""


def sleepers(marker: str) -> list[int]:
    line = ("sleep", marker)
    return [pid for pid in processes.all_pids() if processes.command_line(pid) == line]


@pytest.mark.lesson(9)
async def test_what_a_job_leaves_behind_ends_before_its_device_is_free(
    rough_mesh: Mesh, rough_client: RawClient
) -> None:
    await rough_client.follow("leftover")
    for number, start in enumerate(("sleep", "setsid sleep", "nohup setsid sleep")):
        marker = f"1{os.getpid():07d}{number}"
        script = f"{start} {marker} >/dev/null 2>&1 & sleep 0.2; exit 3"
        job = a_job("sh", "-c", script, gpus=1, grace_s=1)
        await rough_client.submit("leftover", job)
        ended = await rough_client.until_ended(job["job_id"])
        assert (ended["fact"], ended["exit_code"]) == ("failed", 3), start
        probe = a_job("true", ranks=2, gpus=8)
        await rough_client.submit("leftover", probe)
        assert (await rough_client.until_ended(probe["job_id"]))["fact"] == "succeeded"
        assert sleepers(marker) == [], start


async def test_an_attempt_whose_reaper_died_is_lost_not_guessed_and_can_be_retried(
    rough_mesh: Mesh, rough_client: RawClient, tmp_path: Path, eventually: Any
) -> None:
    await rough_client.follow("reaperless")
    tally = tmp_path / "tally"
    script = f'echo x >> "{tally}"; [ $(wc -l < "{tally}") -gt 1 ] || exec sleep 50; exit 6'
    once = a_job("sleep", "50", gpus=1)
    retried = a_job("sh", "-c", script, gpus=8, retries=1)
    for job in (once, retried):
        await rough_client.submit("reaperless", job)
        await rough_client.until_fact(job["job_id"], "running")
    nodes = set()
    for job in (once, retried):
        nodes.add((await rough_client.until_fact(job["job_id"], "placed"))["nodes"][0])
    for node in nodes:
        pid_file = rough_mesh.data / "nodes" / node / "reaper.pid"
        rough_mesh.kill(int(pid_file.read_text(encoding="ascii").split()[0].strip("[{,")))
    lost = await rough_client.until_fact(once["job_id"], "lost")
    assert lost["attempt"] == 1
    assert (await rough_client.until_ended(once["job_id"]))["fact"] == "failed"
    ended = await rough_client.until_ended(retried["job_id"])
    assert (ended["fact"], ended["exit_code"], ended["attempt"]) == ("failed", 6, 2)
    await eventually(lambda: rough_mesh.cli("check", exit_code=None).returncode == 0, timeout_s=20)


def test_a_run_goes_on_across_a_killed_broker_and_loses_no_line(rough_mesh: Mesh) -> None:
    run = rough_mesh.popen("run", "--gpus", "1", "--", sys.executable, "-c", SLOW_LINES)
    assert run.stdout is not None
    first = run.stdout.readline()
    rough_mesh.kill(rough_mesh.pid_of("nats-server"))
    rest, err = run.communicate(timeout=40)
    assert (first + rest).split() == [str(number) for number in range(150)]
    assert run.returncode == 9, err


async def test_the_mesh_continues_after_penstock_up_itself_was_killed(
    mesh_factory: MeshFactory, tmp_path: Path, eventually: Any
) -> None:
    mesh = mesh_factory("--simulate", "1x2xH100")
    mesh.start()
    go, tally = tmp_path / "go", tmp_path / "tally"
    script = f'echo x >> "{tally}"; while [ ! -e "{go}" ]; do sleep 0.02; done; exit 5'
    job = a_job("sh", "-c", script, gpus=1, retries=0)
    async with await RawClient.connect(mesh.nats_url, mesh.creds) as client:
        await client.follow("orphans")
        await client.submit("orphans", job)
        await client.until_fact(job["job_id"], "running")
        await eventually(tally.exists)
    os.kill(mesh.pid, signal.SIGKILL)
    until(lambda: not mesh.is_up)
    mesh.start()
    go.touch()
    async with await RawClient.connect(mesh.nats_url, mesh.creds) as client:

        async def end() -> Any:
            facts = await client.stored_facts("orphans", job["job_id"])
            return next((e for e in facts if e["fact"] in ("failed", "succeeded")), None)

        ended = await eventually(end, timeout_s=20)
    assert ended["exit_code"] == 5
    assert len(tally.read_text(encoding="ascii").split()) == ended["attempt"]
    await eventually(lambda: mesh.cli("check", exit_code=None).returncode == 0, timeout_s=20)
    mesh.stop()


def test_a_mesh_that_is_stopped_while_it_starts_leaves_nothing(mesh_factory: MeshFactory) -> None:
    mesh = mesh_factory("--simulate", "2x2xH100")
    mesh.launch()
    until(lambda: len(mesh.children()) >= 2)
    assert mesh.stop() < 15
