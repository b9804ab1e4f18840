"""Does a mesh made of a backup go on where the copy was taken?"""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.mesh import Mesh, until

FLEET = ("--simulate", "1x2xH100", "--no-local-node")
NewMesh = Callable[[str], Mesh]


@pytest.fixture(scope="module")
def new_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewMesh]:
    """Meshes with homes of their own; what still runs at the end is killed."""
    made: list[Mesh] = []

    def make(name: str) -> Mesh:
        made.append(Mesh(tmp_path_factory.mktemp(name), *FLEET))
        return made[-1]

    yield make
    for mesh in made:
        mesh.destroy()


def a_job(name: str, command: str) -> dict[str, Any]:
    return {"name": name, "command": ["/bin/sh", "-c", command], "gpus": 1}


def states(mesh: Mesh) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for job in mesh.jobs():
        found.setdefault(job["spec"]["name"], []).append(job["state"])
    return found


class Copied:
    """A mesh with six jobs done, two running, two queued; a backup of it; and its end."""

    def __init__(self, mesh: Mesh, tmp_path: Path) -> None:
        self.mesh, self.backup, self.gate = mesh, tmp_path / "backup", tmp_path / "gate"
        mesh.start()
        mesh.cli("secret", "set", "key", input="hunter2")
        mesh.cli("files", "put", "-", "data", input="text")
        for index in range(6):
            mesh.cli("run", "--gpus", "1", "--name", "done", "--", "/bin/echo", str(index))
        for name in ("running", "queued"):
            wait = f"while [ ! -e {self.gate} ]; do sleep 0.05; done"
            jobs = [a_job(name, wait)] * 2
            mesh.cli("submit", "-", input=json.dumps({"jobs": jobs}))
            until(lambda name=name: states(mesh).get(name) == [name] * 2, what=name)
        self.done = mesh.jobs("done")
        self.usage = mesh.cli_json("usage")
        arguments = (str(self.backup), "--data", str(mesh.data), "--logs", "--files")
        self.said = mesh.cli_json("backup", *arguments)
        mesh.cli("check")
        mesh.stop()


@pytest.fixture(scope="module")
def copied(new_mesh: NewMesh, tmp_path_factory: pytest.TempPathFactory) -> Copied:
    return Copied(new_mesh("old"), tmp_path_factory.mktemp("copied"))


def the_queue_goes_on(mesh: Mesh) -> None:
    """What waited runs. What ran when the copy was made is not begun a second time by a node that
    does not know of it: nobody knows how far the first went."""
    until(lambda: states(mesh)["queued"] == ["succeeded"] * 2, timeout_s=60, what="the queue")
    until(lambda: set(states(mesh)["running"]) <= {"succeeded", "failed"}, 60, "no limbo")
    assert {job["reason"] for job in mesh.jobs("running") if job["state"] == "failed"} <= {"lost"}


def test_a_mesh_restored_onto_new_hosts_has_its_ledger_and_history_and_its_queue_goes_on(
    copied: Copied, new_mesh: NewMesh
) -> None:
    streams, cursors = copied.said["streams"], copied.said["ledger_cursors"]
    assert 0 < cursors["JOBS"] <= streams["JOBS"]["last_seq"]
    assert streams["LOGS"]["messages"] == 6
    mesh = new_mesh("new")
    mesh.cli("restore", str(copied.backup), "--data", str(mesh.data))
    mesh.start()
    assert mesh.jobs("done") == copied.done
    assert mesh.cli_json("usage") == copied.usage
    log = mesh.cli("logs", copied.done[0]["job_id"])
    assert log.stdout == "5\n"
    asks = ("--name", "kept", "--secret", "key=KEY", "--input", "data=object:data")
    assert mesh.cli("run", *asks, "--", "sh", "-c", "echo $KEY; cat data").stdout == "hunter2\ntext"
    copied.gate.touch()
    the_queue_goes_on(mesh)
    findings = mesh.cli_json("check", exit_code=None)["findings"]
    # Hosts that lost their disks within one boot have lost their own account of it.
    assert {finding["code"] for finding in findings.pop("between")} <= {"time_unaccounted"}
    assert list(findings.values()) == [[], [], []]
    mesh.stop()


def test_a_backup_is_for_its_owner_alone_and_says_when_it_is_damaged(
    copied: Copied, new_mesh: NewMesh, tmp_path: Path
) -> None:
    paths = list(copied.backup.rglob("*"))
    named = {"keys.json", "client.creds", "http.token", "secrets.key"}
    assert named <= {path.name for path in paths}
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    damaged = tmp_path / "damaged"
    shutil.copytree(copied.backup, damaged)
    with open(damaged / "streams" / "JOBS", "r+b") as file:
        file.seek(30)
        byte = file.read(1)
        file.seek(30)
        file.write(bytes([byte[0] ^ 1]))
    mesh = new_mesh("new")
    refused = mesh.cli("restore", str(damaged), "--data", str(mesh.data), exit_code=1)
    assert "streams/JOBS is damaged" in refused.stderr
    assert not mesh.data.exists()


def test_nothing_is_restored_over_a_mesh_that_is_there(copied: Copied, new_mesh: NewMesh) -> None:
    mesh = copied.mesh
    refused = mesh.cli("restore", str(copied.backup), "--data", str(mesh.data), exit_code=1)
    assert "is not empty" in refused.stderr
    mesh.start()
    target = ("--url", mesh.nats_url, "--creds", str(mesh.data / "creds" / "admin.creds"))
    ledger = f"sqlite:///{mesh.home / 'other.sqlite'}"
    arguments = (str(copied.backup), *target, "--database", ledger)
    refused = mesh.cli("restore", *arguments, exit_code=1)
    assert "this mesh is not empty: REQUESTS" in refused.stderr
    assert not (mesh.home / "other.sqlite").exists()
    refused = mesh.cli("backup", str(mesh.home / "x"), *target, exit_code=1)
    assert "there are no keys in" in refused.stderr
    refused = mesh.cli("backup", str(copied.backup), "--data", str(mesh.data), exit_code=1)
    assert "a backup goes into a directory of its own" in refused.stderr
    check_readers(mesh)
    mesh.stop()


def check_readers(mesh: Mesh) -> None:
    where = ("--data", str(mesh.data))
    views = mesh.cli_json("reader", "list", *where)
    assert {view["reader"] for view in views} >= {"metering", "scheduler", "inventory", "facts"}
    assert "JOBS" in mesh.cli("reader", "list", *where).stdout
    refused = mesh.cli("reader", "drop", "scheduler", *where, exit_code=2)
    assert "the mesh stands still without scheduler" in refused.stderr
    asked = mesh.cli("reader", "drop", "metering", *where, input="n\n", exit_code=130)
    assert "will be discarded" in asked.stdout
    assert not any(view["dropped"] for view in mesh.cli_json("reader", "list", *where))
    dropped = mesh.cli_json("reader", "drop", "metering", "--stream", "USAGE", "--yes", *where)
    assert [view["stream"] for view in dropped] == ["USAGE"]


def test_a_restored_mesh_goes_on_when_its_hosts_are_ahead(
    copied: Copied, new_mesh: NewMesh
) -> None:
    mesh = new_mesh("new")
    mesh.cli("restore", str(copied.backup), "--data", str(mesh.data))
    shutil.rmtree(mesh.data / "nodes")
    (copied.mesh.data / "nodes").rename(mesh.data / "nodes")  # they ran on, and keep their disks
    mesh.start()
    copied.gate.touch()
    the_queue_goes_on(mesh)
    findings = mesh.cli_json("check", exit_code=None)["findings"]
    # What its agents had told the mesh that is gone, the restored one misses, and says so.
    assert {finding["code"] for finding in findings["metering"]} <= {"segments_missing"}
    assert {finding["code"] for finding in findings["between"]} <= {"time_unaccounted"}
    assert findings["inventory"] == []
    mesh.stop()
