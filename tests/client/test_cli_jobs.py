"""Do the commands about jobs print what people and programs need, and end with the right code?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client.builders import (
    NOW_MS,
    a_job_id,
    a_spec,
    a_view,
)
from client.conftest import Penstock
from client.mesh import FakeJob, FakeMesh, run_to_success
from penstock_contracts.asks import Alternative
from penstock_contracts.errors import Refusal
from penstock_contracts.queries import JobsView, RankView

ESCAPE = b"\x1b"
UNKNOWN = Refusal("unknown_job", "There is no such job.")


async def test_jobs_lists_live_and_finished_jobs_newest_first(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    ended = a_view(state="failed", exit_code=3, started_ms=NOW_MS, finished_ms=NOW_MS + 65_000)
    live = a_view(state="queued")
    await real_mesh.answer("query.scheduler.jobs", JobsView((live,)))
    await real_mesh.answer("query.metering.jobs", JobsView((ended,)))
    done = await penstock("jobs")
    heading, first, second = done.out.decode().splitlines()
    assert heading.split()[:3] == ["JOB", "TENANT", "STATE"]
    assert first.startswith(f"{live.job_id}  acme    queued")
    assert second.split()[0] == ended.job_id
    assert "1m 05s" in second
    assert ESCAPE not in done.out
    listed = json.loads((await penstock("jobs", "--json")).out)
    assert [job["state"] for job in listed] == ["queued", "failed"]


async def test_jobs_says_which_service_is_missing(real_mesh: FakeMesh, penstock: Penstock) -> None:
    await real_mesh.answer("query.scheduler.jobs", JobsView((a_view(),)))
    done = await penstock("jobs")
    assert done.code == 0
    assert b"metering does not answer" in done.err


async def test_a_name_cannot_drive_the_terminal(real_mesh: FakeMesh, penstock: Penstock) -> None:
    spec = a_spec(name="\x1b[31mred\n")
    await real_mesh.answer("query.scheduler.jobs", JobsView((a_view(spec=spec),)))
    done = await penstock("jobs")
    assert ESCAPE not in done.out
    assert len(done.out.splitlines()) == 2


async def test_job_shows_all_about_one(real_mesh: FakeMesh, penstock: Penstock) -> None:
    view = a_view(gpu_milli_ms=3_600_000_000, cost_micro=2_500_000, currency="USD")
    await real_mesh.answer("query.scheduler.job", view)
    done = await penstock("job", view.job_id)
    assert done.code == 0
    assert b"2.500000 USD" in done.out
    assert b"1.000000 GPU h" in done.out
    assert json.loads((await penstock("job", view.job_id, "--json")).out)["state"] == "running"


async def test_job_shows_what_it_asks_of_its_places_and_which_choice_it_got(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    asks = {
        "gpus": 2,
        "ranks": 4,
        "alternatives": (Alternative(gpus=1, gpu_milli=500, gpu_models=("L4", "A10")),),
        "near": "site",
        "near_required": True,
        "spread": "rack",
        "node_labels": {"zone": "a"},
        "apart": "db",
    }
    ranks = (RankView(0, "node-a"),)
    job = a_view(spec=a_spec(**asks), ranks=ranks, alternative=1, finished_ms=None)
    await real_mesh.answer("query.scheduler.job", job)
    shown = (await penstock("job", job.job_id)).out.decode()
    fields = dict(line.split("  ", 1) for line in shown.splitlines())
    assert fields["asked for"] == "4 x 2 or 4 x 0.5 L4,A10"
    assert fields["got"].strip() == "4 x 0.5 L4,A10"
    near = "near in one site (required); at most 1 rank(s) in one rack"
    assert fields["where"].strip() == f"{near}; zone=a; apart from other db"


async def test_an_unknown_job_is_refused(real_mesh: FakeMesh, penstock: Penstock) -> None:
    for service in ("scheduler", "metering"):
        await real_mesh.answer(f"query.{service}.job", UNKNOWN)
    for command in ("job", "logs", "cancel"):
        done = await penstock(command, a_job_id())
        assert (done.code, done.err) == (2, b"penstock: unknown_job: There is no such job.\n")
    done = await penstock("job", "a.b", "--json")
    assert done.code == 2
    assert json.loads(done.out)["refusal"]["code"] == "invalid_job_id"


async def test_logs_shows_what_is_stored_and_follows(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    async def script(job: FakeJob) -> None:
        await job.fact("submitted", "queued", "placed", "running")
        await job.log(b"out\n")
        await job.log(b"err\n", "stderr")
        await job.finish()

    real_mesh.script = script
    submitted = await penstock("submit", "-", "--json", input=b'{"command": ["true"]}')
    job_id = json.loads(submitted.out)[0]["job_id"]
    assert await penstock("logs", job_id) == (0, b"out\n", b"err\n")
    assert await penstock("logs", "-f", job_id) == (0, b"out\n", b"err\n")
    assert await penstock("logs", job_id, "--rank", "1") == (0, b"", b"")


async def test_logs_are_found_by_time_and_say_what_was_dropped(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    async def script(job: FakeJob) -> None:
        await job.fact("submitted", "queued", "placed", "running")
        await job.log(b"out\n")
        await job.drop(7)
        await job.finish()

    real_mesh.script = script
    submitted = await penstock("submit", "-", "--json", input=b'{"command": ["true"]}')
    job_id = json.loads(submitted.out)[0]["job_id"]
    dropped = b"penstock: 7 bytes were dropped here: stdout of attempt 1, rank 0, from byte 4 on\n"
    assert await penstock("logs", "-f", job_id) == (0, b"out\n", dropped)
    assert await penstock("logs", job_id, "--since", "1h") == (0, b"out\n", dropped)
    assert await penstock("logs", job_id, "--until", "1h") == (0, b"", b"")
    shown = await penstock("logs", job_id, "--since", "2020-01-01", "--json")
    assert [json.loads(line)["log"].get("dropped") for line in shown.out.splitlines()] == [None, 7]
    refused = await penstock("logs", "-f", job_id, "--until", "1h")
    assert refused.code == 2 and b"leave out --until" in refused.err


async def test_submit_reads_yaml_documents_and_tells_each_fate(
    real_mesh: FakeMesh, penstock: Penstock, tmp_path: Path
) -> None:
    async def script(job: FakeJob) -> None:
        if job.spec.name != "wide":
            await run_to_success(job)
            return
        await job.fact("submitted")
        await job.fact("rejected", reason="impossible", message="Too wide.")

    real_mesh.script = script
    real_mesh.refuse = lambda spec: (
        Refusal("job_id_conflict", "Used before.") if spec.name == "again" else None
    )
    file = tmp_path / "jobs.yaml"
    file.write_text(
        "tenant: acme\ncommand: [sh, -c, 'echo $X']\nenv: {X: y}\n"
        "---\n- {command: [true-ly], name: wide}\n- {command: ['false'], name: again}\n"
        "---\n{tenant: acme, jobs: [{command: [x], gpus: 2}]}\n",
        encoding="utf-8",
    )
    done = await penstock("submit", str(file), "--tenant", "other", "--json")
    answers = json.loads(done.out)
    assert done.code == 2
    assert sorted(a["state"] for a in answers) == ["accepted", "accepted", "refused", "rejected"]
    tenants = sorted((job.tenant, job.spec.command[0]) for job in real_mesh.jobs.values())
    assert tenants == [("acme", "sh"), ("acme", "x"), ("other", "true-ly")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("command: echo hi", "list of arguments"),
        ("command: [x]\ngpu: 1", "did you mean 'gpus'"),
        ("command: [x]\ngpus: many", "Expected `int`"),
        ("command: [x]\ngpus: -1", "Expected `int` >= 0"),
        ("jobs: [{command: [x]}]\nextra: 1", "unknown field 'extra'"),
        ("{", "neither JSON nor YAML"),
        ("", "describes no job"),
        ("- 7", "a job is a mapping"),
        ("command: [x]\ntenant: a.b", "not a valid tenant"),
    ],
)
async def test_a_bad_file_is_refused_with_its_place(
    real_mesh: FakeMesh, penstock: Penstock, text: str, words: str
) -> None:
    done = await penstock("submit", "-", input=text.encode())
    assert done.code == 2
    assert words in done.err.decode()
    assert b"Traceback" not in done.err
    assert real_mesh.jobs == {}


async def test_cancel_tells_how_it_went(real_mesh: FakeMesh, penstock: Penstock) -> None:
    async def script(job: FakeJob) -> None:
        await job.fact("submitted", "queued")
        await job.cancelled.wait()
        await job.finish("cancelled")

    real_mesh.script = script
    submitted = await penstock("submit", "-", input=b"command: [sleep, '60']")
    job_id = submitted.out.decode().strip()
    assert await penstock("cancel", job_id) == (0, f"{job_id}  cancelled\n".encode(), b"")
    again = await penstock("cancel", job_id)
    assert again.code == 2
    assert b"job_finished" in again.err
