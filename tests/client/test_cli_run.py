"""Does `penstock run` feel like the program it runs? A real process against a real broker."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal

import pytest

from client.conftest import Penstock, Spawn
from client.mesh import FakeJob, FakeMesh
from conftest import Eventually, NatsServer
from penstock_client.commands import asks
from penstock_contracts.asks import LEVELS, Alternative
from penstock_contracts.errors import Refusal

BIG_BYTES = 50_000_000
CHUNK_BYTES = 64 * 1024


async def begin(job: FakeJob) -> None:
    await job.fact("submitted", "queued", "placed", "running")


async def test_streams_are_kept_apart_and_the_exit_code_is_the_jobs(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    async def script(job: FakeJob) -> None:
        await begin(job)
        await job.log(b"out\n")
        await job.log(b"err\n", "stderr")
        await job.finish("failed", exit_code=7)

    real_mesh.script = script
    done = await penstock("run", "--gpus", "1", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert done == (7, b"out\n", b"err\n")
    (job,) = real_mesh.jobs.values()
    assert job.spec.command == ("sh", "-c", "echo out; echo err >&2; exit 7")
    assert job.spec.gpus == 1
    assert job.tenant == "default"


async def test_every_option_reaches_the_job(real_mesh: FakeMesh, penstock: Penstock) -> None:
    done = await penstock(
        "run", "--gpu-milli", "250", "--gpu-model", "H100,A100", "--gpu-model", "L4",
        "--ranks", "2", "--tenant", "acme", "--name", "n", "--env", "A=b=c", "--label", "x=y",
        "--time-limit", "1h30m", "--priority", "9", "--retries", "2", "--grace", "0",
        "--cpu-milli", "500", "--memory-mib", "64", "--", "true", "--help", "-x",
    )  # fmt: skip
    assert done.code == 0, done.err
    (job,) = real_mesh.jobs.values()
    spec = job.spec
    assert job.tenant == "acme"
    assert (spec.gpus, spec.gpu_milli, spec.ranks) == (1, 250, 2)
    assert spec.gpu_models == ("H100", "A100", "L4")
    assert (spec.env, spec.labels) == ({"A": "b=c"}, {"x": "y"})
    assert (spec.time_limit_s, spec.priority, spec.retries, spec.grace_s) == (5400, 9, 2, 0)
    assert (spec.cpu_milli, spec.memory_mib) == (500, 64)
    assert spec.command == ("true", "--help", "-x")


async def test_every_wish_for_places_reaches_the_job(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    done = await penstock(
        "run", "--gpus", "2", "--gpu-model", "H100", "--or", "4xA100@0.6", "--or", "0.5xL40S,L4",
        "--ranks", "4", "--near", "site", "--near-required", "--spread", "rack",
        "--spread-ranks", "2", "--node-label", "zone=a", "--node-label", "disk=big",
        "--apart", "database", "--", "true",
    )  # fmt: skip
    assert done.code == 0, done.err
    (job,) = real_mesh.jobs.values()
    spec = job.spec
    assert spec.alternatives == (
        Alternative(gpus=4, gpu_models=("A100",), speed_milli=600),
        Alternative(gpus=1, gpu_milli=500, gpu_models=("L40S", "L4")),
    )
    assert (spec.near, spec.near_required) == ("site", True)
    assert (spec.spread, spec.spread_ranks, spec.apart) == ("rack", 2, "database")
    assert spec.node_labels == {"zone": "a", "disk": "big"}


async def test_a_wish_that_cannot_be_is_refused_with_what_to_do(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    for wrong, said in (
        (("--or", "4A100"), b"GxMODEL"),
        (("--gpus", "1", "--or", "4xA100@fast"), b"GxMODEL@SPEED"),
        (("--or", "4xA100"), b"set gpus to what it prefers"),
        (("--near-required",), b"near_required needs near"),
        (("--near", "cage"), b"'link', 'node', 'rack', 'site'"),
        (("--ranks", "2", "--near", "node", "--spread", "node"), b"leave one out"),
    ):
        done = await penstock("run", *wrong, "--", "true")
        assert done.code == 2 and said in done.err, done
    assert not real_mesh.jobs


def test_the_levels_offered_are_those_of_the_contract() -> None:
    assert asks.LEVELS == LEVELS


@pytest.mark.parametrize(
    ("state", "fields", "code"),
    [
        ("succeeded", {"exit_code": 0}, 0),
        ("failed", {"exit_code": 255}, 255),
        ("failed", {"exit_code": None, "signal": 9}, 137),
        ("failed", {"exit_code": None, "reason": "spawn_failed", "message": "no such file"}, 127),
        ("timed_out", {}, 124),
        ("cancelled", {}, 130),
    ],
)
async def test_each_end_has_its_exit_code(
    real_mesh: FakeMesh, penstock: Penstock, state: str, fields: dict[str, object], code: int
) -> None:
    async def script(job: FakeJob) -> None:
        await begin(job)
        await job.finish(state, **fields)

    real_mesh.script = script
    done = await penstock("run", "--", "x")
    assert done.code == code
    assert done.out == b""
    assert (b"no such file" in done.err) == ("message" in fields)


async def test_a_refused_job_says_why_and_exits_with_2(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    real_mesh.refuse = lambda spec: Refusal("backlog_full", "Too much work.", "jobs")
    done = await penstock("run", "--", "true")
    assert (done.code, done.out) == (2, b"")
    assert done.err == b"penstock: backlog_full: Too much work. [jobs]\n"


async def test_an_impossible_job_says_why_and_exits_with_2(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    async def script(job: FakeJob) -> None:
        await job.fact("submitted")
        await job.fact("rejected", reason="impossible", message="16 GPUs in all.")

    real_mesh.script = script
    done = await penstock("run", "--gpus", "17", "--", "true")
    assert (done.code, done.out) == (2, b"")
    assert done.err == b"penstock: impossible: 16 GPUs in all.\n"


async def test_a_job_that_writes_50_mb_and_exits_at_once_loses_no_byte(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    block = random.Random(1).randbytes(1_000_003)
    data = (block * (BIG_BYTES // len(block) + 1))[:BIG_BYTES]

    async def script(job: FakeJob) -> None:
        await begin(job)
        for start in range(0, BIG_BYTES, CHUNK_BYTES * 32):
            block = data[start : start + CHUNK_BYTES * 32]
            pieces = (
                (start + at, block[at : at + CHUNK_BYTES])
                for at in range(0, len(block), CHUNK_BYTES)
            )
            await asyncio.gather(*(job.log(piece, at=offset) for offset, piece in pieces))
        await job.finish()

    real_mesh.script = script
    done = await penstock("run", "--", "writer")
    assert (done.code, done.err, len(done.out)) == (0, b"", BIG_BYTES)
    assert hashlib.sha256(done.out).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupt_cancels_the_job_and_waits_for_its_end(
    real_mesh: FakeMesh, spawn: Spawn, number: signal.Signals
) -> None:
    async def script(job: FakeJob) -> None:
        await begin(job)
        await job.log(b"go\n")
        await job.cancelled.wait()
        await job.log(b"bye\n")
        await job.finish("cancelled")

    real_mesh.script = script
    process = await spawn("run", "--", "sleep", "60")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"go\n"
    process.send_signal(number)
    out, err = await asyncio.wait_for(process.communicate(), 10)
    assert (out, err, process.returncode) == (b"bye\n", b"", 130)


async def test_a_second_interrupt_leaves_at_once(real_mesh: FakeMesh, spawn: Spawn) -> None:
    asked = asyncio.Event()

    async def script(job: FakeJob) -> None:
        await begin(job)
        await job.log(b"go\n")
        await job.cancelled.wait()
        asked.set()

    real_mesh.script = script
    process = await spawn("run", "--", "sleep", "60")
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(asked.wait(), 10)
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 10) == 130


async def test_a_closed_pipe_cancels_the_job_without_a_traceback(
    real_mesh: FakeMesh, spawn: Spawn
) -> None:
    async def script(job: FakeJob) -> None:
        await begin(job)
        while not job.cancelled.is_set():
            await job.log(b"x" * 10_000)
        await job.finish("cancelled")

    real_mesh.script = script
    read, write = os.pipe()
    process = await spawn("run", "--", "yes", stdout=write)
    os.close(write)
    assert await asyncio.to_thread(os.read, read, 100)
    os.close(read)
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, err) == (141, b"")


async def test_json_gives_facts_and_output_as_lines(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    async def script(job: FakeJob) -> None:
        await begin(job)
        await job.log(b"text")
        await job.log(b"\xff\xfe", "stderr")
        await job.finish()

    real_mesh.script = script
    done = await penstock("run", "--json", "--", "x")
    lines = [json.loads(line) for line in done.out.splitlines()]
    facts = [line["event"]["fact"] for line in lines if "event" in line]
    assert facts == ["submitted", "queued", "placed", "running", "succeeded"]
    output = [line["log"] for line in lines if "log" in line]
    assert [(o["stream"], o.get("text"), o.get("base64")) for o in output] == [
        ("stdout", "text", None),
        ("stderr", None, "//4="),
    ]


@pytest.mark.long  # the client waits ten seconds for them
async def test_bytes_that_never_arrive_are_called_missing(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    async def script(job: FakeJob) -> None:
        await begin(job)
        await job.log(b"some")
        await job.finish(log_bytes={"1.0.stdout": 10})

    real_mesh.script = script
    done = await penstock("run", "--", "x")
    assert (done.code, done.out) == (0, b"some")
    assert b"bytes 4 to 10 of stdout" in done.err


async def test_output_goes_on_after_the_broker_was_killed(
    real_mesh: FakeMesh, spawn: Spawn, nats_server: NatsServer, eventually: Eventually
) -> None:
    on = asyncio.Event()

    async def script(job: FakeJob) -> None:
        await begin(job)
        await job.log(b"one\n")
        await on.wait()
        await job.log(b"two\n")
        await job.finish()

    real_mesh.script = script
    process = await spawn("run", "--", "x")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"one\n"
    nats_server.restart()
    await eventually(lambda: real_mesh.bus.connected)
    on.set()
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (out, err, process.returncode) == (b"two\n", b"", 0)
