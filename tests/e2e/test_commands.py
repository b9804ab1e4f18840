"""Does each command of `penstock` do what its line in the table says?"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from e2e.mesh import Mesh, until
from e2e.raw import TERMINAL, RawClient, a_job

TWO_JOBS = """\
name: first
tenant: yaml
command: [sh, -c, "echo first; exit 3"]
gpus: 1
---
name: second
tenant: yaml
command: [sh, -c, "echo second; echo aside >&2"]
env: {A: b}
"""

JobState = Callable[[str], str]


@pytest.fixture
def state_of(mesh: Mesh) -> JobState:
    return lambda job_id: str(mesh.cli_json("job", job_id)["state"])


def submitted(mesh: Mesh, *arguments: str, document: str) -> list[str]:
    """The ids of the jobs that `penstock submit` reports."""
    answer = mesh.cli("submit", *arguments, "-", "--json", input=document).stdout
    return [job["job_id"] for job in json.loads(answer)]


def test_submit_takes_several_yaml_documents_from_stdin(mesh: Mesh, state_of: JobState) -> None:
    first, second = submitted(mesh, document=TWO_JOBS)
    until(lambda: state_of(first) == "failed" and state_of(second) == "succeeded")
    assert mesh.cli_json("job", first)["exit_code"] == 3
    assert mesh.cli("logs", first).stdout == "first\n"
    done = mesh.cli("logs", second)
    assert (done.stdout, done.stderr) == ("second\n", "aside\n")


def test_submit_takes_json_and_yaml_files(mesh: Mesh, state_of: JobState) -> None:
    (mesh.home / "one.json").write_text('{"command": ["true"], "name": "json"}', encoding="utf-8")
    (mesh.home / "two.yaml").write_text(TWO_JOBS, encoding="utf-8")
    for file, count in (("one.json", 1), ("two.yaml", 2)):
        ids = [job["job_id"] for job in mesh.cli_json("submit", file)]
        assert len(ids) == count
        until(lambda ids=ids: all(state_of(job_id) in TERMINAL for job_id in ids))


def test_finished_jobs_are_found_by_job_jobs_logs_and_explain(mesh: Mesh) -> None:
    mesh.cli("run", "--gpus", "1", "--tenant", "past", "--name", "bygone", "--", "echo", "was here")
    (job,) = mesh.jobs("bygone")
    assert (job["tenant"], job["state"], job["exit_code"]) == ("past", "succeeded", 0)
    assert mesh.cli("logs", job["job_id"]).stdout == "was here\n"
    assert mesh.cli_json("job", job["job_id"])["job_id"] == job["job_id"]
    for command in ("job", "explain"):
        assert "succeeded" in mesh.cli(command, job["job_id"]).stdout
    assert job["job_id"] in mesh.cli("jobs").stdout


def test_a_waiting_job_is_explained_and_cancelled(mesh: Mesh, state_of: JobState) -> None:
    (holder,) = submitted(
        mesh, document='{"command": ["sleep", "60"], "ranks": 2, "gpus": 8, "grace_s": 1}'
    )
    until(lambda: state_of(holder) == "running")
    (waiting,) = submitted(mesh, document='{"command": ["true"], "gpus": 8}')
    until(lambda: state_of(waiting) == "queued")
    why = mesh.cli("explain", waiting).stdout
    assert "8" in why
    assert mesh.cli_json("explain", waiting)["code"].startswith("waiting")
    mesh.cli("cancel", waiting)
    until(lambda: state_of(waiting) == "cancelled")
    assert state_of(holder) == "running"
    mesh.cli("cancel", holder)
    until(lambda: state_of(holder) == "cancelled")


def test_the_higher_priority_goes_first_then_the_older(mesh: Mesh, state_of: JobState) -> None:
    tally = mesh.home / "order"
    (holder,) = submitted(
        mesh, document='{"command": ["sleep", "60"], "ranks": 2, "gpus": 8, "grace_s": 1}'
    )
    until(lambda: state_of(holder) == "running")
    names = [("low", 1), ("first", 5), ("second", 5), ("high", 9)]
    for name, priority in names:
        script = f'[ "$RANK" = 0 ] && echo {name} >> {tally}; true'
        job = {"command": ["sh", "-c", script], "priority": priority, "gpus": 8, "ranks": 2}
        submitted(mesh, document=json.dumps(job))
    mesh.cli("cancel", holder)
    until(lambda: tally.exists() and len(tally.read_text().split()) == 4)
    assert tally.read_text().split() == ["high", "first", "second", "low"]


def test_logs_follow_until_the_job_ends(mesh: Mesh) -> None:
    go = mesh.home / "go"
    script = f'echo one; while [ ! -e "{go}" ]; do sleep 0.02; done; echo two'
    (job_id,) = submitted(mesh, document=json.dumps({"command": ["sh", "-c", script]}))
    following = mesh.popen("logs", job_id, "-f")
    assert following.stdout is not None
    assert following.stdout.readline() == "one\n"
    go.touch()
    out, _ = following.communicate(timeout=15)
    assert (out, following.returncode) == ("two\n", 0)


def test_logs_of_one_rank_are_only_its(mesh: Mesh, state_of: JobState) -> None:
    (job_id,) = submitted(mesh, document='{"command": ["sh", "-c", "echo rank $RANK"], "ranks": 3}')
    until(lambda: state_of(job_id) == "succeeded")
    assert mesh.cli("logs", job_id, "--rank", "1").stdout == "rank 1\n"


def test_usage_charges_tenants_for_what_ran(mesh: Mesh) -> None:
    mesh.cli("run", "--gpus", "2", "--tenant", "payer", "--", "sleep", "0.5")

    def gpu_line() -> Any:
        answer = mesh.cli_json("usage", "--tenant", "payer")
        return next((x for x in answer["lines"] if x["unit"] == "gpu_milli_ms"), None)

    line = until(gpu_line, what="usage of the job")
    assert 2 * 1000 * 450 <= line["quantity"] <= 2 * 1000 * 5_000
    assert (line["tenant"], line["jobs"]) == ("payer", 1)
    assert line["price_micro_per_hour"] > 0
    assert line["billed_quantity"] >= line["quantity"]
    exact = line["billed_quantity"] * line["price_micro_per_hour"] / 3_600_000_000
    assert abs(line["cost_micro"] - exact) <= 1
    assert "payer" in mesh.cli("usage", "--tenant", "payer").stdout
    assert mesh.cli_json("usage", "--tenant", "nobody-ever")["lines"] == []
    assert mesh.cli_json("usage", "--tenant", "payer", "--to", "2020-01-01")["lines"] == []


def test_check_is_clean_and_says_so(mesh: Mesh) -> None:
    report = mesh.cli_json("check")
    assert report["unaccounted_ms"] == 0
    assert "unaccounted_ms 0" in mesh.cli("check").stdout


async def test_check_is_clean_while_jobs_run(mesh: Mesh, client: RawClient) -> None:
    await client.follow("busy")
    jobs = [a_job("sleep", "60", gpus=1, grace_s=1) for _ in range(6)]
    await client.submit("busy", *jobs)
    for job in jobs:
        await client.until_fact(job["job_id"], "running")
    for _ in range(2):
        assert mesh.cli_json("check")["unaccounted_ms"] == 0
    for job in jobs:
        mesh.cli("cancel", job["job_id"])
        assert (await client.until_ended(job["job_id"]))["fact"] == "cancelled"


def test_two_settings_suffice_for_every_command(mesh: Mesh) -> None:
    elsewhere = {"HOME": str(mesh.home / "nowhere"), "XDG_CONFIG_HOME": str(mesh.home / "nowhere")}
    settings = {"PENSTOCK_NATS_URL": mesh.nats_url, "PENSTOCK_NATS_CREDS": str(mesh.creds)}
    for command in (["run", "--", "true"], ["jobs"], ["nodes"], ["usage"], ["check"]):
        mesh.cli(*command, env=elsewhere | settings)
        flags = ("--url", mesh.nats_url, "--creds", str(mesh.creds))
        mesh.cli(command[0], *flags, *command[1:], env=elsewhere)


@pytest.mark.long
def test_without_a_mesh_commands_say_where_they_looked(mesh: Mesh) -> None:
    elsewhere = {
        "HOME": str(mesh.home / "nowhere"),
        "XDG_CONFIG_HOME": str(mesh.home / "nowhere"),
        "PENSTOCK_NATS_URL": "nats://127.0.0.1:9",
        "PENSTOCK_NATS_CREDS": str(mesh.creds),
    }
    done = mesh.cli("jobs", exit_code=None, env=elsewhere)
    assert done.returncode != 0
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
