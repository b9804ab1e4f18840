"""Does the agent run containers as it runs programs?"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.builders import an_order
from agent.scripted import AgentProcess, Mesh
from containers.podman import Podman
from penstock_contracts.work import Container, Mount

WAIT_FOR_GO = "while ! [ -e /place/go ]; do sleep 0.05; done"


class Node:
    """An agent with a podman, and one directory that jobs may mount."""

    def __init__(self, directory: Path, url: str, mesh: Mesh, podman: Podman) -> None:
        self.mesh, self.podman = mesh, podman
        self.place = directory / "place"
        self.place.mkdir()
        flags = ["--podman", "podman", "--allow-mount", str(directory)]
        flags += [f"--podman-option={option}" for option in podman.options]
        flags += [f"--container-option={option}" for option in podman.run_options]
        self.agent = AgentProcess(directory, url, *flags)

    def order(self, script: str, container: dict[str, Any] | None = None, **changes: Any) -> Any:
        """For a shell script in a container of the test's image."""
        mounts = (Mount(str(self.place), "/place", read_only=False),)
        given = {"image": self.podman.image, "mounts": mounts, **(container or {})}
        return an_order(command=("/bin/sh", "-c", script), container=Container(**given), **changes)


@pytest.fixture
async def node(
    bus: Any, nats_server: Any, tmp_path: Path, podman: Podman, eventually: Any
) -> AsyncIterator[Node]:
    mesh = Mesh(bus)
    await mesh.open()
    node = Node(tmp_path, nats_server.url, mesh, podman)
    node.agent.start()
    try:
        await eventually(mesh.reachable)
        yield node
    finally:
        node.agent.end()
    labels = json.loads((node.agent.directory / "containers.json").read_text("ascii"))["labels"]
    assert (labels["penstock.mesh"], labels["penstock.node"]) == ("local", "n1")
    assert podman.containers(f"penstock.directory={labels['penstock.directory']}") == []


async def test_a_container_goes_through_the_same_steps_as_a_program(
    node: Node, eventually: Any
) -> None:
    mesh = node.mesh
    order = node.order(
        "ls /place; pwd; echo $MINE $RANK $PATH; echo wrong >&2; exit 7",
        env={"MINE": "one word"},
        devices=("SIM-n1-0",),
        memory_limit_mib=64,
        pids_max=50,
        rlimits={"nofile": 77},
        cpu_milli=250,
    )
    (node.place / "given").write_text("")
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Released"))
    assert mesh.kinds(order) == ["Preparing", "Started", "Exited", "Released"]
    end = mesh.end(order)
    assert (end.reason, end.exit_code, end.signal) == ("exited", 7, None)
    await eventually(lambda: mesh.size(order, "stdout") == end.log_bytes["stdout"])
    given, where, variables = mesh.text(order, "stdout").decode().splitlines()
    assert (given, where) == ("given", "/penstock/job")
    assert variables.startswith("one word 0 /usr/local/sbin:")
    assert mesh.text(order, "stderr") == b"wrong\n"
    description = mesh.descriptions[-1]
    assert "containers" in description.offers
    assert description.facts["podman"].count(".") == 2


async def test_limits_and_an_end_for_want_of_memory_are_told(node: Node, eventually: Any) -> None:
    mesh = node.mesh
    order = node.order("dd if=/dev/zero of=/dev/null bs=128M count=1", memory_limit_mib=32)
    limited = node.order("ulimit -n; echo >x; exit 0", rlimits={"nofile": 77})
    await mesh.order(order, limited)
    await eventually(lambda: mesh.has(order, "Released") and mesh.has(limited, "Released"))
    assert mesh.end(order).reason == "out_of_memory"
    await eventually(lambda: mesh.text(limited, "stdout") == b"77\n")


async def test_work_goes_on_while_the_agent_is_killed_and_its_end_is_told(
    node: Node, eventually: Any
) -> None:
    mesh = node.mesh
    order = node.order(f"echo before; {WAIT_FOR_GO}; echo after; exit 3")
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Started"))
    node.agent.kill()
    (node.place / "go").write_text("")
    node.agent.start()
    await eventually(lambda: mesh.has(order, "Released"))
    assert (mesh.end(order).reason, mesh.end(order).exit_code) == ("exited", 3)
    await eventually(lambda: mesh.text(order, "stdout") == b"before\nafter\n")


@pytest.mark.parametrize(
    ("container", "kind", "words"),
    [
        ({"image": "localhost/penstock-none:1", "pull": "never"}, "Declined", "no_such_image"),
        ({"mounts": (Mount("/etc", "/x"),)}, "Declined", "path_not_allowed"),
        ({"image": "dir:/etc"}, "Exited", "image_not_allowed"),
        ({"image": "Not-A-Reference"}, "Exited", "no_such_image"),
    ],
)
async def test_what_cannot_be_had_is_told_before_anything_begins(
    node: Node, eventually: Any, container: dict[str, Any], kind: str, words: str
) -> None:
    mesh = node.mesh
    order = node.order("true", container)
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, kind))
    assert not mesh.has(order, "Started")
    told = mesh.story(order)[-2 if kind == "Exited" else -1]
    if kind == "Exited":
        assert told.reason == "prepare_failed"
    assert words in str(told)


async def test_a_link_out_of_what_may_be_mounted_is_not_followed(
    node: Node, eventually: Any
) -> None:
    mesh = node.mesh
    (node.place / "out").symlink_to("/etc")
    order = node.order("true", {"mounts": (Mount(f"{node.place}/out", "/x"),)})
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Declined"))
    assert "path_not_allowed" in str(mesh.story(order)[-1])
