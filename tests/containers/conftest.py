"""A podman that works, and a reaper that runs containers by it."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.reaper_client import ReaperClient
from containers.podman import Podman, find_podman


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    found, why = find_podman(tmp_path_factory.mktemp("image"))
    if found is None:
        pytest.skip(why)
    yield found
    found.call("rmi", "--force", found.image)


class ContainerClient(ReaperClient):
    """A reaper in a state directory whose containers bear `labels`."""

    def __init__(self, directory: Path, podman: Podman) -> None:
        super().__init__(directory)
        self.podman = podman
        self.labels = {
            "penstock.mesh": "test",
            "penstock.node": "n1",
            "penstock.directory": uuid.uuid4().hex,
        }
        settings = {"podman": podman.argv, "labels": self.labels}
        (directory / "containers.json").write_text(json.dumps(settings), "ascii")

    def name_of(self, key: str) -> str:
        return f"penstock-{self.labels['penstock.directory'][:12]}-{key}"

    def contain(self, key: str, script: str, *options: str, **changes: Any) -> None:
        """Have the script run in a container."""
        env = changes.pop("env", {"PENSTOCK_LEASE": key})
        wanted = {
            "podman": self.podman.argv,
            "name": self.name_of(key),
            "labels": self.labels,
            "args": self.arguments(key, script, *options),
            "devices": changes.pop("devices", []),
        }
        self.spawn(key, env=env, container=wanted, **changes)

    def arguments(self, key: str, script: str, *options: str) -> list[str]:
        labels = {**self.labels, "penstock.lease": key}
        args = [f"--label={name}={value}" for name, value in labels.items()]
        args += [
            "--network=host",
            f"--volume={self.work}:/penstock/job:U",
            "--workdir=/penstock/job",
        ]
        args += [*self.podman.run_options, *options]
        return [*args, "--", self.podman.image, "/bin/sh", "-c", script]

    def containers(self) -> list[dict[str, Any]]:
        """What is left of this state directory's."""
        return self.podman.containers(f"penstock.directory={self.labels['penstock.directory']}")

    def out(self, key: str) -> str:
        return self.output(key, "out").read_text("utf-8")

    def err(self, key: str) -> str:
        return self.output(key, "err").read_text("utf-8")


@pytest.fixture
async def client(tmp_path: Path, podman: Podman) -> AsyncIterator[ContainerClient]:
    client = ContainerClient(tmp_path, podman)
    await client.start()
    yield client
    client.close()
    for left in client.containers():
        podman.call("rm", "--force", "--time=0", left["Id"])
