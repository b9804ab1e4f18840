"""Do gangs, cancels, limits and retries come out right while parts of the mesh die at random?

The long companion of `test_kills`: all shapes of jobs at once, seeded.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from e2e.mesh import Mesh
from e2e.raw import ROOT, RawClient, a_job, endings

JOBS = 240
KILLS = 24
ROLES = ("scheduler", "inventory", "metering", "gateway", "agent", "nats-server")
TALLY = 'echo "$ID.$RANK" >> "$TALLY"; '


def a_mixed_job(number: int, tally: Path, chance: random.Random) -> tuple[dict[str, Any], set[str]]:
    """One job of some shape, and the ends that are right for it."""
    kind = ("plain", "gang", "limited", "cancelled", "failing gang")[number % 5]
    pause = f"sleep {chance.uniform(0, 0.4):.2f}; "
    shapes: dict[str, tuple[str, dict[str, Any], set[str]]] = {
        "plain": (pause + "exit 3", {"gpus": 1}, {"failed"}),
        "gang": (pause, {"gpus": chance.choice([1, 2]), "ranks": 4}, {"succeeded"}),
        "limited": ("sleep 60", {"gpus": 1, "time_limit_s": 1, "grace_s": 1}, {"timed_out"}),
        "cancelled": ("sleep 60", {"gpus": 1, "grace_s": 1}, {"cancelled"}),
        "failing gang": (
            '[ "$RANK" = 1 ] && exit 5; sleep 60',
            {"gpus": 1, "ranks": 3, "grace_s": 1},
            {"failed"},
        ),
    }
    script, fields, ends = shapes[kind]
    job = a_job("sh", "-c", TALLY + script, name=kind, **fields)
    job["env"] = {"ID": job["job_id"], "TALLY": str(tally)}
    return job, ends


async def kill_at_random(mesh: Mesh, chance: random.Random, done: asyncio.Event) -> None:
    for _ in range(KILLS):
        pids = mesh.pids_of(chance.choice(ROLES))
        if pids:
            mesh.kill(chance.choice(pids))
        try:
            await asyncio.wait_for(done.wait(), chance.uniform(0.2, 2.0))
            return
        except TimeoutError:
            continue


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
async def test_every_shape_of_job_ends_as_it_should_while_anything_dies(
    rough_mesh: Mesh, rough_client: RawClient, tmp_path: Path, eventually: Any, seed: int
) -> None:
    chance, tenant, tally = random.Random(seed), f"mixture{seed}", tmp_path / "tally"
    jobs, right = [], {}
    for number in range(JOBS):
        job, ends = a_mixed_job(number, tally, chance)
        jobs.append(job)
        right[job["job_id"]] = ends
    done = asyncio.Event()
    killing = asyncio.create_task(kill_at_random(rough_mesh, chance, done))
    for first in range(0, JOBS, 20):
        batch = jobs[first : first + 20]
        await rough_client.submit(tenant, *batch)
        for job in batch:
            if job["name"] == "cancelled":
                await rough_client.send(
                    f"{ROOT}.request.job.{tenant}.cancel", {"job_id": job["job_id"]}
                )

    async def all_over() -> bool:
        return len(endings(await rough_client.stored_facts(tenant))) == JOBS

    await eventually(all_over, timeout_s=120)
    done.set()
    await killing
    ended = endings(await rough_client.stored_facts(tenant))
    assert {job_id: len(found) for job_id, found in ended.items() if len(found) != 1} == {}
    wrong = {
        job["job_id"]: (job["name"], ended[job["job_id"]])
        for job in jobs
        if ended[job["job_id"]][0]["fact"] not in right[job["job_id"]]
    }
    assert wrong == {}
    assert twice_in(tally) == {}
    await eventually(lambda: rough_mesh.cli("check", exit_code=None).returncode == 0, timeout_s=40)


def twice_in(tally: Path) -> dict[str, int]:
    """Ranks that ran more than once."""
    runs = Counter(tally.read_text(encoding="ascii").split())
    return {name: count for name, count in runs.items() if count != 1}
