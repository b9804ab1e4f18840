"""How do devices come into a container, and what if they are taken out again?"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from containers.conftest import ContainerClient

CDI = Path("/var/run/cdi")
DEVICE = Path("/dev/fuse")


@pytest.fixture
def kind() -> Iterator[str]:
    """Kind of a CDI device `GPU-1`, which is a device of this host."""
    if not DEVICE.exists() or os.geteuid() != 0:
        pytest.skip(f"needs root and {DEVICE}")
    kind = f"penstock.test/gpu-{uuid.uuid4().hex[:8]}"
    edits = {"deviceNodes": [{"path": str(DEVICE)}], "env": ["SEEN=by-cdi"]}
    devices = [{"name": "GPU-1", "containerEdits": edits}]
    CDI.mkdir(exist_ok=True)
    spec = CDI / f"{kind.replace('/', '-')}.json"
    spec.write_text(json.dumps({"cdiVersion": "0.5.0", "kind": kind, "devices": devices}), "ascii")
    yield kind
    spec.unlink()


def test_a_device_is_there_by_its_name_in_cdi_and_no_other(
    client: ContainerClient, kind: str
) -> None:
    script = "echo $SEEN; ls /dev/fuse; : <>/dev/fuse && echo opened"
    client.contain("k", script, f"--device={kind}=GPU-1", devices=[f"{kind}=GPU-1"])
    assert client.end_of("k")["code"] == 0
    assert client.out("k") == "by-cdi\n/dev/fuse\nopened\n"
    client.contain("n", "ls /dev/fuse")
    assert client.end_of("n")["code"] != 0


@pytest.mark.lesson(8)
def test_a_device_that_is_taken_from_a_running_container_is_told_as_that_and_not_as_the_jobs_fault(
    client: ContainerClient, kind: str
) -> None:
    """As `systemctl daemon-reload` does to containers whose devices systemd does not know."""
    script = "echo up; trap 'exit 1' TERM; while :; do sleep 0.05; done"
    client.contain("k", script, f"--device={kind}=GPU-1", devices=[f"{kind}=GPU-1"], grace_s=1)
    began = client.wait_for("began", "k")
    denied = _devices_cgroup(began[3]) / "devices.deny"
    if not denied.exists():
        pytest.skip("control groups of version 1 would be needed to take a device away")
    client.podman.call("exec", client.name_of("k"), "cat", "/dev/null")  # and it has been looked at
    number = DEVICE.stat().st_rdev
    denied.write_text(f"c {os.major(number)}:{os.minor(number)} rwm", "ascii")
    end = client.end_of("k")
    assert (end["code"], end["reason"]) == (1, "device_failed")
    assert "not by the job" in end["message"]


def _devices_cgroup(pid: int) -> Path:
    for line in Path(f"/proc/{pid}/cgroup").read_text("ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        if "devices" in controllers.split(","):
            return Path(f"/sys/fs/cgroup/{controllers}{path}")
    return Path("/nowhere")
