"""Does each command print what a person and a program need, and end with the right code?"""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from client.builders import (
    NOW_MS,
    a_job_id,
    a_metering_audit,
    a_node_use,
    a_node_view,
    a_scheduler_audit,
    a_spec,
    a_view,
    an_inventory_audit,
)
from client.conftest import Penstock
from client.mesh import FakeJob, FakeMesh, run_to_success
from penstock_contracts.errors import Refusal
from penstock_contracts.queries import (
    Explanation,
    Finding,
    JobsView,
    NodesUseView,
    NodesView,
    UsageLine,
    UsageView,
)

ESCAPE = b"\x1b"
EXEMPT = ("node", "mesh", "completion", "up")
"""Groups, and what needs no mesh."""
UNKNOWN = Refusal("unknown_job", "There is no such job.")


async def audits(mesh: FakeMesh, **metering: object) -> None:
    await mesh.answer("query.scheduler.audit", a_scheduler_audit())
    await mesh.answer("query.inventory.audit", an_inventory_audit())
    await mesh.answer("query.metering.audit", a_metering_audit(**metering))


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


async def test_an_unknown_job_is_refused(real_mesh: FakeMesh, penstock: Penstock) -> None:
    for service in ("scheduler", "metering"):
        await real_mesh.answer(f"query.{service}.job", UNKNOWN)
    for command in ("job", "logs", "cancel"):
        done = await penstock(command, a_job_id())
        assert (done.code, done.err) == (2, b"penstock: unknown_job: There is no such job.\n")
    done = await penstock("job", "a.b", "--json")
    assert done.code == 2
    assert json.loads(done.out)["refusal"]["code"] == "invalid_job_id"


async def test_explain_says_why(real_mesh: FakeMesh, penstock: Penstock) -> None:
    sentence = "4 of 8 GPUs are free on one node."
    why = Explanation(
        job_id=a_job_id(), state="queued", code="waiting_for_devices", sentence=sentence, position=2
    )
    await real_mesh.answer("query.scheduler.explain", why)
    done = await penstock("explain", why.job_id)
    assert sentence in done.out.decode()


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


async def test_nodes_and_one_node_are_shown(real_mesh: FakeMesh, penstock: Penstock) -> None:
    views = (a_node_view("node-b", liveness="lost"), a_node_view("node-a", cordoned=True))
    await real_mesh.answer("query.inventory.nodes", NodesView(2, views))
    without = await penstock("nodes")
    assert (without.code, b"?" in without.out) == (0, True)
    await real_mesh.answer("query.scheduler.nodes", NodesUseView(2, (a_node_use(),)))
    done = await penstock("nodes")
    _, first, second = done.out.decode().splitlines()
    assert first.split()[:6] == ["node-a", "alive", "cordoned", "1", "0.5", "H100"]
    assert second.split()[:3] == ["node-b", "lost", "1"]
    listed = json.loads((await penstock("nodes", "--json")).out)
    assert [node["use"] is None for node in listed] == [False, True]
    shown = await penstock("node", "show", "node-a")
    assert b"GPU-node-a-0" in shown.out
    assert (await penstock("node", "show", "node-z")).code == 2


async def test_a_node_is_drained(real_mesh: FakeMesh, penstock: Penstock) -> None:
    await real_mesh.answer("command.node.node-a.drain", a_node_view(cordoned=True, draining=True))
    done = await penstock("node", "drain", "node-a", "--deadline", "5m", "--reason", "fan")
    assert done == (0, b"node-a  alive draining\n", b"")
    assert real_mesh.asked[0][1] == b'{"reason":"fan","deadline_s":300}'


async def test_usage_shows_cost_and_total(real_mesh: FakeMesh, penstock: Penstock) -> None:
    lines = tuple(
        UsageLine(
            tenant=tenant,
            sku="H100",
            unit="gpu_milli_ms",
            quantity=1_800_000_000,
            price_micro_per_hour=2_000_000,
            cost_micro=1_000_000,
            currency="USD",
            jobs=2,
        )
        for tenant in ("a", "b")
    )
    await real_mesh.answer("query.metering.usage", UsageView(lines, None, None))
    done = await penstock("usage")
    assert done.out.decode().splitlines()[-1].split() == ["total", "2.000000", "USD"]
    assert "0.500000 GPU h" in done.out.decode()
    assert (await penstock("usage", "--from", "never")).code == 2


async def test_a_clean_check_says_so(real_mesh: FakeMesh, penstock: Penstock) -> None:
    await audits(real_mesh)
    done = await penstock("check")
    assert done.code == 0
    assert done.out.decode().splitlines()[-1] == "unaccounted_ms 0"
    assert ("query.metering.audit", b'{"jobs_seq":40,"nodes_seq":7}') in real_mesh.asked
    assert json.loads((await penstock("check", "--json")).out)["ok"] is True


@pytest.mark.parametrize(
    ("metering", "code"),
    [
        ({"unaccounted_ms": 12}, "time_unaccounted"),
        ({"accepted": 4}, "accepted_differ"),
        ({"finished": {"succeeded": 1, "failed": 1}}, "finished_differ"),
        ({"capacity_milli_ms": 999}, "states_do_not_sum"),
        ({"findings": (Finding("leased_twice", "GPU-1 is leased twice."),)}, "leased_twice"),
    ],
)
async def test_a_check_that_finds_something_lists_it_and_exits_with_1(
    real_mesh: FakeMesh, penstock: Penstock, metering: dict[str, object], code: str
) -> None:
    await audits(real_mesh, **metering)
    done = await penstock("check")
    assert done.code == 1
    assert code in done.out.decode()


async def test_a_check_without_a_service_is_not_clean(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    await real_mesh.answer("query.scheduler.audit", a_scheduler_audit())
    done = await penstock("check")
    assert done.code == 1
    assert b"metering: unavailable" in done.out
    assert b"unaccounted_ms unknown" in done.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--gpus", "-1", "--", "true"),
        ("run", "--gpus", "many", "--", "true"),
        ("run", "--tenant", "a.b", "--", "true"),
        ("run", "--time-limit", "soon", "--", "true"),
        ("run", "--env", "A", "--", "true"),
        ("run", "--", ""),
        ("run",),
        ("rnu",),
        ("jobs", "--limit", "0"),
        ("submit", "/nowhere"),
        ("node", "cordon", "a.b"),
    ],
)
async def test_wrong_usage_exits_with_2_and_a_sentence(
    real_mesh: FakeMesh, penstock: Penstock, arguments: tuple[str, ...]
) -> None:
    done = await penstock(*arguments)
    assert done.code == 2
    assert done.err
    assert b"Traceback" not in done.err
    assert real_mesh.jobs == {}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion_prints_a_script(penstock: Penstock, shell: str) -> None:
    done = await penstock("completion", shell)
    assert done.code == 0
    assert b"_PENSTOCK_COMPLETE" in done.out


def penstock_path() -> str:
    return str(Path(sys.executable).parent / "penstock")


def test_completion_offers_commands_without_loading_them() -> None:
    env = {
        **os.environ,
        "_PENSTOCK_COMPLETE": "bash_complete",
        "COMP_WORDS": "penstock no",
        "COMP_CWORD": "1",
    }
    done = subprocess.run([penstock_path()], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["plain,nodes", "plain,node"]


def test_help_is_fast_and_loads_no_service() -> None:
    times = []
    for _ in range(10):
        began = time.perf_counter()
        subprocess.run([penstock_path(), "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.1
    code = (
        "import sys; from penstock_client.cli import _invoke; _invoke(['--help']);"
        "heavy = {'nats', 'aiohttp', 'rich', 'msgspec', 'asyncio', 'yaml'};"
        "sys.exit(','.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "gateway" in done.stdout


def test_every_command_has_its_own_help() -> None:
    from click.testing import CliRunner

    from penstock_client.cli import COMMANDS, group

    for name in COMMANDS:
        result = CliRunner().invoke(group, [name, "--help"])
        assert result.exit_code == 0, (name, result.output)
        for flag in ("--json", "--url", "--creds"):
            assert flag in result.output or name in EXEMPT, (name, flag)


def test_the_table_holds_every_entry_point() -> None:
    import tomllib

    from penstock_client.cli import COMMANDS, ENTRY_POINTS

    root = Path(__file__).resolve().parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    for name, target in project["entry-points"][ENTRY_POINTS].items():
        assert COMMANDS[name].target == target


def test_without_a_mesh_commands_say_how_to_start_one(tmp_path: Path) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PENSTOCK_NATS_URL": "nats://127.0.0.1:9",
    }
    command = [penstock_path(), "jobs", "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "127.0.0.1:9" in done.stderr
    assert "penstock up" in done.stderr
    assert json.loads(done.stdout)["refusal"]["code"] == "unavailable"


def test_a_closed_pipe_ends_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [penstock_path(), "completion", "bash"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_colours_appear_on_a_terminal_only() -> None:
    code = (
        "from penstock_client.commands.tables import print_table;"
        "print_table(('STATE',), [('failed',)], '')"
    )
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert plain.stdout == b"STATE\nfailed\n"
    parent, child = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color"}
    env.pop("NO_COLOR", None)
    subprocess.run([sys.executable, "-c", code], stdout=child, env=env, check=True)
    os.close(child)
    shown = b""
    while select.select([parent], [], [], 0)[0]:
        try:
            shown += os.read(parent, 4096)
        except OSError:
            break
    os.close(parent)
    assert ESCAPE in shown
