"""Does a job's output reach its reader whole, or say what is not there, when the way is broken?"""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path
from typing import Any

from e2e.far_node import FarNode, a_link
from e2e.mesh import PENSTOCK, Mesh
from e2e.raw import RawClient, a_job

TENANT = "output"
MB = 1_000_000
COUNTING = """
number=0
while [ ! -e "$0" ]; do number=$((number + 1)); echo "line $number"; sleep 0.02; done
echo last
"""
HEAD_THEN_FLOOD = """
echo begun; while [ ! -e "$0/flood" ]; do sleep 0.05; done
head -c 30000000 /dev/zero | tr "\\0" x; echo; touch "$0/written"
while [ ! -e "$0/go" ]; do sleep 0.05; done; echo last
"""
MARK = re.compile(r"penstock: (\d+) bytes were dropped here: stdout of attempt 1, rank 0, .*\n")


def follow_into(shown: Path, mesh: Mesh, job_id: str) -> subprocess.Popen[bytes]:
    with open(shown, "wb") as file:
        return subprocess.Popen(
            [str(PENSTOCK), "logs", "-f", job_id], stdout=file, env=mesh.env, cwd=mesh.home
        )


async def test_who_follows_output_gets_every_line_once_though_the_broker_is_killed(
    rough_mesh: Mesh, rough_client: RawClient, tmp_path: Path, eventually: Any
) -> None:
    await rough_client.follow(TENANT)
    enough = tmp_path / "enough"
    job = a_job("/bin/sh", "-c", COUNTING, str(enough))
    await rough_client.submit(TENANT, job)
    await rough_client.until_fact(job["job_id"], "running")
    shown = tmp_path / "shown"
    following = follow_into(shown, rough_mesh, job["job_id"])
    await eventually(lambda: shown.stat().st_size > 0, 30.0)
    rough_mesh.kill(rough_mesh.pid_of("nats-server"))
    before = shown.stat().st_size
    await eventually(lambda: shown.stat().st_size > before, 90.0)
    enough.touch()
    assert await asyncio.to_thread(following.wait, 90) == 0
    lines = shown.read_text("ascii").splitlines()
    assert lines == [*(f"line {number}" for number in range(1, len(lines))), "last"]


async def test_what_a_cut_off_node_had_no_room_for_is_marked_in_its_place(
    rough_mesh: Mesh, rough_client: RawClient, tmp_path: Path, eventually: Any
) -> None:
    await rough_client.follow(TENANT)
    link = await a_link(rough_mesh)
    node = FarNode(rough_mesh, "far-flood", "FLOODED", link, "--spool-mib", "4")
    node.start()
    try:
        await eventually(lambda: "far-flood" in rough_mesh.nodes(), 90.0)
        job = a_job("/bin/sh", "-c", HEAD_THEN_FLOOD, str(tmp_path), gpus=1)
        job["gpu_models"] = ["FLOODED"]
        await rough_client.submit(TENANT, job)
        await rough_client.until_fact(job["job_id"], "running")
        node.cut()
        (tmp_path / "flood").touch()
        await eventually((tmp_path / "written").exists, 90.0)
        spool = rough_mesh.home / "far-flood" / "state" / "spool" / "0.out"
        await eventually(lambda: spool.stat().st_blocks * 512 < 6 * MB, 90.0)
        assert spool.stat().st_size > 30 * MB, "offsets stay true"
        (tmp_path / "go").touch()
        node.mend()
        ended = await rough_client.until_ended(job["job_id"], timeout_s=90.0)
        read = await asyncio.to_thread(rough_mesh.cli, "logs", "-f", job["job_id"])
        found = MARK.findall(read.stderr)
        assert sum(map(int, found)) + len(read.stdout) == ended["log_bytes"]["1.0.stdout"]
        assert read.stdout.startswith("begun\n") and read.stdout.endswith("x\nlast\n")
        assert set(read.stdout.removeprefix("begun").removesuffix("last\n")) == {"x", "\n"}
        assert 4 * MB < len(read.stdout) < 6 * MB
    finally:
        node.end()
        await link.close()
