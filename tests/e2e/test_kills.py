"""Does every job end exactly once, whatever part of the mesh is killed meanwhile?

`kill -9` of each process of a real mesh in turn under a stream of short jobs. Each job writes its
id into a file by O_APPEND, so that a second run of it would be seen.
"""

from __future__ import annotations

import random
import signal
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from e2e.mesh import Mesh
from e2e.raw import RawClient, a_job, endings

ROUND_JOBS = 25
VICTIMS = (
    "scheduler", "inventory", "metering", "gateway", "agent", "agent", "agent", "nats-server",
)  # fmt: skip
SHORT_JOB = 'echo "$ID" >> "$TALLY"; sleep "$PAUSE"; exit "$CODE"'


def short_jobs(tally: Path, count: int, chance: random.Random) -> list[dict[str, Any]]:
    jobs = []
    for number in range(count):
        job = a_job("sh", "-c", SHORT_JOB, gpus=1, name=f"short-{number}")
        job["env"] = {
            "ID": job["job_id"],
            "TALLY": str(tally),
            "PAUSE": f"{chance.uniform(0.0, 0.3):.3f}",
            "CODE": str(number % 4),
        }
        jobs.append(job)
    return jobs


def runs_in(tally: Path) -> Counter[str]:
    """How often each job has written its id."""
    return Counter(tally.read_text(encoding="ascii").split())


async def assert_each_ended_once(
    client: RawClient, tenant: str, jobs: list[dict[str, Any]], tally: Path, eventually: Any
) -> None:
    """Exactly one terminal fact, one run and the right exit code for every job."""

    async def all_over() -> bool:
        return len(endings(await client.stored_facts(tenant))) == len(jobs)

    await eventually(all_over, timeout_s=60)
    ended = endings(await client.stored_facts(tenant))
    assert ended.keys() == {job["job_id"] for job in jobs}
    assert {job_id: len(events) for job_id, events in ended.items() if len(events) != 1} == {}
    wrong = {
        job["job_id"]: ended[job["job_id"]][0]
        for job in jobs
        if ended[job["job_id"]][0].get("exit_code") != int(job["env"]["CODE"])
    }
    assert wrong == {}
    assert runs_in(tally) == Counter(job["job_id"] for job in jobs)


def _is_replaced(mesh: Mesh, role: str, gone: int, many: int) -> bool:
    pids = mesh.pids_of(role)
    return gone not in pids and len(pids) == many


async def assert_check_is_clean(mesh: Mesh, eventually: Any) -> None:
    """Once every part that was killed, or has lost its broker, is there again."""
    await eventually(
        lambda: "is not there" not in mesh.cli("check", "--json", exit_code=None).stdout
    )
    report = mesh.cli_json("check")
    assert report["unaccounted_ms"] == 0
    assert mesh.cli("check").stdout.count("unaccounted_ms 0") == 1


@pytest.mark.lesson(1)
@pytest.mark.parametrize("rounds", [1, pytest.param(6, marks=pytest.mark.long)])
async def test_no_job_is_lost_or_run_twice_while_each_process_is_killed_in_turn(
    rough_mesh: Mesh, rough_client: RawClient, tmp_path: Path, eventually: Any, rounds: int
) -> None:
    tenant, tally, chance = f"kills{rounds}", tmp_path / "tally", random.Random(rounds)
    await rough_client.follow(tenant)
    jobs: list[dict[str, Any]] = []
    agents_killed = 0
    for role in VICTIMS * rounds:
        batch = short_jobs(tally, ROUND_JOBS, chance)
        jobs += batch
        await rough_client.submit(tenant, *batch)
        await eventually(tally.exists)
        pids = rough_mesh.pids_of(role)
        victim = pids[agents_killed % len(pids)] if role == "agent" else pids[0]
        agents_killed += role == "agent"
        rough_mesh.kill(victim)
        await eventually(partial(_is_replaced, rough_mesh, role, victim, len(pids)), timeout_s=15)
    await assert_each_ended_once(rough_client, tenant, jobs, tally, eventually)
    await assert_check_is_clean(rough_mesh, eventually)


async def test_submissions_made_while_the_scheduler_is_down_are_run_afterwards(
    rough_mesh: Mesh, rough_client: RawClient, tmp_path: Path, eventually: Any
) -> None:
    tally = tmp_path / "tally"
    down = rough_mesh.pid_of("scheduler")
    rough_mesh.kill(down, signal.SIGSTOP)
    jobs = short_jobs(tally, 5, random.Random(1))
    for job in jobs:
        await rough_client.submit("down", job)
    assert not tally.exists()
    rough_mesh.kill(down)
    await assert_each_ended_once(rough_client, "down", jobs, tally, eventually)


async def test_cancels_made_while_the_scheduler_is_down_are_obeyed_afterwards(
    rough_mesh: Mesh, rough_client: RawClient
) -> None:
    await rough_client.follow("down")
    job = a_job("sleep", "60", gpus=1)
    await rough_client.submit("down", job)
    await rough_client.until_fact(job["job_id"], "running")
    rough_mesh.kill(rough_mesh.pid_of("scheduler"))
    rough_mesh.cli("cancel", job["job_id"])
    assert (await rough_client.until_ended(job["job_id"]))["fact"] == "cancelled"


@pytest.mark.lesson(14)
async def test_output_written_while_the_agent_is_dead_is_not_lost(
    rough_mesh: Mesh, rough_client: RawClient, tmp_path: Path, eventually: Any
) -> None:
    await rough_client.follow("orphan")
    go = tmp_path / "go"
    script = f'echo before; while [ ! -e "{go}" ]; do sleep 0.02; done; echo after; exit 3'
    job = a_job("sh", "-c", script, gpus=1)
    await rough_client.submit("orphan", job)
    placed = await rough_client.until_fact(job["job_id"], "placed")
    await rough_client.until_fact(job["job_id"], "running")
    (agent,) = [
        pid
        for pid in rough_mesh.pids_of("agent")
        if placed["nodes"][0] in rough_mesh.children()[pid]
    ]
    rough_mesh.kill(agent)
    go.touch()
    ended = await rough_client.until_ended(job["job_id"])
    assert (ended["fact"], ended["exit_code"]) == ("failed", 3)

    async def all_output() -> bool:
        log = await rough_client.stored_log("orphan", job["job_id"], "stdout")
        return log == b"before\nafter\n"

    await eventually(all_output)


async def test_two_schedulers_beside_each_other_exactly_one_goes_on(
    rough_mesh: Mesh, rough_client: RawClient, tmp_path: Path, eventually: Any
) -> None:
    from e2e.second import a_second_scheduler

    tally, chance = tmp_path / "tally", random.Random(2)
    first = rough_mesh.pid_of("scheduler")
    jobs = short_jobs(tally, ROUND_JOBS, chance)
    await rough_client.submit("twins", *jobs[:10])
    await eventually(tally.exists)
    rough_mesh.kill(first, signal.SIGSTOP)
    with a_second_scheduler(rough_mesh, first) as second:
        await rough_client.submit("twins", *jobs[10:20])
        await eventually(lambda: runs_in(tally).total() > 10, timeout_s=20)
        rough_mesh.kill(first, signal.SIGCONT)
        await rough_client.submit("twins", *jobs[20:])
        await assert_each_ended_once(rough_client, "twins", jobs, tally, eventually)
        await eventually(
            lambda: (second.poll() is None) + len(rough_mesh.pids_of("scheduler")) == 1,
            timeout_s=30,
        )
    await eventually(lambda: rough_mesh.cli("check", exit_code=None).returncode == 0, timeout_s=30)
    await assert_check_is_clean(rough_mesh, eventually)
