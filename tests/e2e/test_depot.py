"""Do files and secrets go through a whole mesh, and is a secret nowhere but where it should be?"""

from __future__ import annotations

import base64
import os
import signal
from pathlib import Path

import pytest

from e2e.conftest import MeshFactory
from e2e.mesh import Mesh, until
from penstock_node_agent.workplace.secret_files import SecretFiles

SECRET = "hunter2-" + "0123456789abcdef" * 3
OPEN = "no-secret-" + "0123456789abcdef" * 3
USES_ALL = (
    'cat in/data > out; test "$KEY" = "$(cat "$PENSTOCK_SECRETS/key.pem")" || exit 9; exit "$CODE"'
)


def traces_of(secret: str, place: Path) -> list[str]:
    """Every file below a place that holds it: plain, in any alignment of base64, in hexadecimal."""
    raw = secret.encode()
    forms = [raw, raw.hex().encode()]
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + raw)
        forms.append(whole[4 if shift else 0 : len(whole) // 4 * 4 - 4])
    found = []
    for path in place.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            found += [str(path)] if any(form in data for form in forms) else []
    return found


def test_a_planted_secret_is_found_in_any_form(tmp_path: Path) -> None:
    for number, form in enumerate(
        (SECRET, base64.b64encode(b"xy" + SECRET.encode()).decode(), SECRET.encode().hex())
    ):
        (tmp_path / str(number)).write_text(f"something {form} else")
    assert len(traces_of(SECRET, tmp_path)) == 3


def test_a_secret_is_nowhere_after_a_run_whatever_died_meanwhile(
    mesh_factory: MeshFactory,
) -> None:
    mesh = mesh_factory("--simulate", "1x2xH100", "--no-local-node").start()
    mesh.cli("secret", "set", "key", input=SECRET + "\n")
    (mesh.home / "data.bin").write_bytes(os.urandom(300_000))
    mesh.cli("files", "put", "data.bin", "data")
    asks = (
        *("--env", f"OPEN={OPEN}", "--secret", "key=KEY", "--secret", "key=file:key.pem"),
        *("--input", "in/data=object:data", "--output", "out=object:out?"),
    )
    for code in (0, 3):
        mesh.cli("run", *asks, "--env", f"CODE={code}", "--", "sh", "-c", USES_ALL, exit_code=code)
    assert mesh.cli("files", "get", "out", "copy.bin").returncode == 0
    assert (mesh.home / "copy.bin").read_bytes() == (mesh.home / "data.bin").read_bytes()
    mesh.cli("run", *asks, "--", "no-such-program", exit_code=127)
    mesh.cli("run", "--secret", "none=KEY", "--", "true", exit_code=1)
    job = mesh.popen("run", *asks, "--env", "CODE=5", "--", "sh", "-c", "sleep 1;" + USES_ALL)
    until(lambda: [one for one in mesh.jobs() if one["state"] == "running"])
    for role in ("agent", "gateway", "scheduler"):
        mesh.kill(mesh.pid_of(role))
    job.communicate(timeout=40)
    assert job.returncode == 5
    mesh.cli("secret", "list")
    mesh.stop(signal.SIGTERM)
    assert traces_of(SECRET, mesh.home) == []
    seen = traces_of(OPEN, mesh.home)
    for place in ("jetstream", "ledger"):
        assert any(place in path for path in seen), f"else we look at nothing: {seen}"
    (state,) = (mesh.data / "nodes").iterdir()
    assert os.listdir(SecretFiles(str(state)).root) == []


def test_files_are_listed_and_removed_and_missing_ones_fail_by_their_name(mesh: Mesh) -> None:
    mesh.cli("files", "put", "-", "from stdin", input="text")
    listed = mesh.cli_json("files", "list")
    assert [(file["name"], file["bytes"]) for file in listed] == [("from stdin", 4)]
    assert mesh.cli("files", "get", "from stdin", "-").stdout == "text"
    mesh.cli("files", "remove", "from stdin")
    refused = mesh.cli("files", "get", "from stdin", "-", exit_code=2)
    assert "no_such_file" in refused.stderr
    failed = mesh.cli("run", "--input", "a=object:from stdin", "--", "true", exit_code=1)
    assert "prepare_failed" in failed.stderr and "from stdin" in failed.stderr


def test_what_a_job_has_stored_is_shown(mesh: Mesh) -> None:
    script = "echo text > model; exit 4"
    done = mesh.cli(
        *("run", "--json", "--output", "model=object:m", "--output", "none=object:n"),
        *("--", "sh", "-c", script),
        exit_code=4,
    )
    job_id = mesh.jobs()[0]["job_id"]
    assert job_id in done.stdout
    (rank,) = mesh.cli_json("job", job_id)["ranks"]
    assert [(one["path"], one["target"], one["bytes"]) for one in rank["outputs"]] == [
        ("model", "object:m", 5)
    ]
    shown = mesh.cli("job", job_id).stdout
    assert "object:m" in shown and "model to object:m, none to object:n" in shown


def test_each_rank_stores_what_it_has_made(mesh: Mesh) -> None:
    asks = ("--ranks", "2", "--output", "made=object:rank-{rank}")
    mesh.cli("run", *asks, "--", "sh", "-c", 'echo "$RANK" > made')
    assert [mesh.cli("files", "get", f"rank-{n}", "-").stdout for n in "01"] == ["0\n", "1\n"]


@pytest.mark.lesson(1)
def test_an_agent_killed_while_it_gets_ready_or_stores_loses_nothing(
    mesh_factory: MeshFactory,
) -> None:
    mesh = mesh_factory("--simulate", "1x8xH100", "--no-local-node").start()
    (mesh.home / "data.bin").write_bytes(os.urandom(20_000_000))
    mesh.cli("files", "put", "data.bin", "data")
    marks = mesh.home / "runs", mesh.home / "ended"
    script = f"echo > {marks[0]}; sleep 0.5; echo > {marks[1]}"
    command = ("--input", "d=object:data", "--output", "d=object:copy", "--", "sh", "-c", script)
    job = mesh.popen("run", *command)
    until(lambda: list(mesh.data.glob("nodes/*/*/*/.d.*")), what="the input is being got")
    mesh.kill(mesh.pid_of("agent"))
    for mark in marks:
        until(mark.exists)
        mesh.kill(mesh.pid_of("agent"))
    job.communicate(timeout=40)
    assert job.returncode == 0
    mesh.cli("files", "get", "copy", "copy.bin")
    assert (mesh.home / "copy.bin").read_bytes() == (mesh.home / "data.bin").read_bytes()
    assert mesh.cli_json("check")["ok"]
