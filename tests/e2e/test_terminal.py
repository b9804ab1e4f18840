"""What does a person at a terminal see, and a program that asks for JSON?"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time

from e2e.mesh import PENSTOCK, Mesh, until

TIMEOUT_S = 20.0


def read_until(master: int, text: str) -> str:
    """What a terminal shows until `text` has appeared or the other side has hung up."""
    shown = ""
    deadline = time.monotonic() + TIMEOUT_S
    while text not in shown and time.monotonic() < deadline:
        try:
            shown += os.read(master, 4096).decode("utf-8", "replace")
        except OSError:
            break
    return shown


def test_a_terminal_shows_why_a_job_waits_and_ctrl_c_ends_it(mesh: Mesh) -> None:
    document = '{"command": ["sleep", "60"], "ranks": 2, "gpus": 8, "grace_s": 1}'
    holder = json.loads(mesh.cli("submit", "-", "--json", input=document).stdout)[0]["job_id"]
    until(lambda: mesh.cli_json("job", holder)["state"] == "running")
    master, slave = pty.openpty()
    try:
        waiting = subprocess.Popen(
            [str(PENSTOCK), "run", "--gpus", "8", "--name", "patient", "--", "true"],
            stdin=slave, stdout=slave, stderr=slave, env=mesh.env, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        assert "queued: " in read_until(master, "queued: ")  # and why
        waiting.send_signal(signal.SIGINT)
        read_until(master, "the job was cancelled")
        assert waiting.wait(TIMEOUT_S) == 130
    finally:
        os.close(master)
        mesh.cli("cancel", holder)
    assert [job["state"] for job in mesh.jobs("patient")] == ["cancelled"]


def test_sigterm_cancels_a_run_too(mesh: Mesh) -> None:
    run = mesh.popen("run", "--name", "terminated", "--", "sh", "-c", "echo go; exec sleep 60")
    assert run.stdout is not None
    assert run.stdout.readline() == "go\n"
    run.terminate()
    run.communicate(timeout=TIMEOUT_S)
    until(lambda: mesh.jobs("terminated")[0]["state"] == "cancelled")


def test_run_with_json_tells_facts_and_output_line_by_line(mesh: Mesh) -> None:
    done = mesh.cli("run", "--json", "--", "sh", "-c", "echo hello; exit 4", exit_code=4)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    facts = [line["event"]["fact"] for line in lines if "event" in line]
    assert (facts[0], facts[-1]) == ("submitted", "failed")
    assert "hello" in done.stdout


def test_every_listing_command_speaks_json(mesh: Mesh) -> None:
    job_id = mesh.cli_json("submit", _a_file(mesh))[0]["job_id"]
    until(lambda: mesh.cli_json("job", job_id)["state"] == "succeeded")
    for command in (
        ("jobs",), ("job", job_id), ("explain", job_id), ("nodes",), ("usage",), ("check",),
        ("node", "show", "sim-h100-1"), ("node", "cordon", "sim-h100-1"),
        ("node", "uncordon", "sim-h100-1"),
    ):  # fmt: skip
        assert mesh.cli_json(*command), command
    refused = mesh.cli("job", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "--json", exit_code=2)
    assert json.loads(refused.stdout)["refusal"]["code"] == "unknown_job"


def test_a_job_without_gpus_is_metered_in_cpu_time(mesh: Mesh) -> None:
    mesh.cli("run", "--tenant", "cpuonly", "--", "sleep", "0.3")

    def lines() -> list[dict[str, object]]:
        return list(mesh.cli_json("usage", "--tenant", "cpuonly")["lines"])

    until(lines)
    assert {line["unit"] for line in lines()} == {"cpu_milli_ms"}


def test_every_command_explains_itself() -> None:
    for command in (
        "up", "run", "submit", "jobs", "job", "logs", "cancel", "explain", "nodes", "node",
        "usage", "check", "agent", "inventory", "scheduler", "metering", "gateway", "completion",
        "backup", "restore",
    ):  # fmt: skip
        done = subprocess.run(
            [str(PENSTOCK), command, "--help"], capture_output=True, text=True, check=True
        )
        assert "Usage: penstock" in done.stdout, command


def _a_file(mesh: Mesh) -> str:
    file = mesh.home / "one-true.json"
    file.write_text('{"command": ["true"]}', encoding="utf-8")
    return str(file)
