"""Does a job outlive the device that fails under it, and the rest of its host with it?

Two hosts whose devices a program of the test describes, each with an agent of its own that has
joined a mesh; faults are what that program says.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.mesh import PENSTOCK, Mesh, until
from e2e.raw import RawClient, a_job, ulid
from penstock_bus.pinning import trusting

MODEL = "TEST-GPU"
STOP_TIMEOUT_S = 20.0


class Host:
    """A host with two devices, and its agent."""

    def __init__(self, mesh: Mesh, name: str, directory: Path) -> None:
        self.name, self._file = name, directory / f"{name}.json"
        self.uuids = (f"{name}-a", f"{name}-b")
        program = directory / f"{name}-gpus"
        program.write_text(f'#!/bin/sh\ncat "{self._file}"\n')
        program.chmod(0o755)
        self.say()
        token = mesh.cli_json("node", "invite")["token"]
        with open(directory / f"{name}.log", "wb") as log:
            self.process = subprocess.Popen(
                [str(PENSTOCK), "agent", "--join", token, "--node", name, "--sample-s", "0.2",
                 "--data-dir", str(directory / name), "--driver", f"command:{program}",
                 "--stop-work-on-exit"],
                env=mesh.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def say(self, **sick: str) -> None:
        """What its devices are from now on: unhealthy ones by UUID, with a code."""
        devices = [
            {"uuid": uuid, "index": index, "model": MODEL, "healthy": uuid not in sick,
             "health_code": sick.get(uuid, ""), "health_reason": sick.get(uuid, "")}
            for index, uuid in enumerate(self.uuids)
        ]  # fmt: skip
        whole = self._file.with_suffix(".new")
        whole.write_text(json.dumps({"devices": devices}))
        whole.rename(self._file)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP_TIMEOUT_S)


@pytest.fixture
def mesh_and_hosts(tmp_path: Path) -> Iterator[tuple[Mesh, dict[str, Host]]]:
    mesh = Mesh(tmp_path, "--listen", "127.0.0.1", "--simulate", "1x1xH100", "--no-local-node")
    mesh.start()
    hosts = {name: Host(mesh, name, tmp_path) for name in ("left", "right")}
    until(lambda: {*hosts} <= {*mesh.nodes()}, what="both hosts")
    yield mesh, hosts
    for host in hosts.values():
        host.stop()
    mesh.stop()


@pytest.mark.lesson(5, 6, 8)
async def test_a_job_whose_device_fails_goes_on_elsewhere_and_the_rest_of_its_host_just_goes_on(
    mesh_and_hosts: tuple[Mesh, dict[str, Host]], tmp_path: Path, eventually: Any
) -> None:
    mesh, hosts = mesh_and_hosts
    script = f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo $CUDA_VISIBLE_DEVICES"
    jobs = [a_job("sh", "-c", script, gpus=1, gpu_models=[MODEL]) for _ in range(3)]
    tls = trusting((mesh.data / "tls/cert.pem").read_text("ascii"))
    async with await RawClient.connect(mesh.nats_url, mesh.creds, tls) as client:
        await client.follow("acme")
        await client.submit("acme", *jobs)
        for job in jobs:
            await client.until_fact(job["job_id"], "running")
        ranks = {view["job_id"]: view["ranks"][0] for view in mesh.jobs()}
        full = max(hosts, key=[rank["node"] for rank in ranks.values()].count)
        struck, *others = sorted(ranks, key=lambda job_id: ranks[job_id]["node"] != full)
        (uuid,) = ranks[struck]["devices"]
        hosts[full].say(**{uuid: "ras"})
        await client.until_fact(struck, "lost")
        (lost,) = [fact for fact in client.facts[struck] if fact["fact"] == "lost"]
        assert (lost["reason"], lost["attempt"]) == ("device_failed", 1)
        assert lost["message"] == f"device {uuid} is unhealthy: ras"
        again = await eventually(lambda: nodes_of(client, struck)[1:])
        assert again == [({*hosts} - {full}).pop()]
        sick = {
            d["uuid"]
            for d in mesh.nodes()[full]["description"]["devices"]
            if not d.get("healthy", True)
        }
        assert sick == {uuid}
        (tmp_path / "go").touch()
        ends = {job_id: await client.until_ended(job_id) for job_id in ranks}
        assert {end["fact"] for end in ends.values()} == {"succeeded"}
        assert ends[struck]["attempt"] == 2, "with no retries asked for"
        assert {ends[job_id]["attempt"] for job_id in others} == {1}
        await client.submit("acme", *(more := [{**job, "job_id": ulid()} for job in jobs]))
        for job in more:
            await client.until_ended(job["job_id"])
        used = [rank["devices"] for view in mesh.jobs() for rank in view["ranks"]]
        assert [uuid] not in used[: len(more)], "nothing is given the sick device"
        hosts[full].say()


def nodes_of(client: RawClient, job_id: str) -> list[str]:
    """Where it has been placed, attempt by attempt."""
    facts = client.facts.get(job_id, [])
    return [fact["nodes"][0] for fact in facts if fact["fact"] == "placed"]
