"""What becomes of containers whose reaper or agent dies, and of those that are not ours?"""

from __future__ import annotations

import json
import os
import signal

import pytest

from agent.reaper_client import boottime_ns, wait_until
from containers.conftest import ContainerClient
from containers.podman import Podman

WAIT_FOR_GO = "while ! [ -e go ]; do sleep 0.05; done"


@pytest.mark.lesson(1)
async def test_a_container_outlives_the_reaper_and_the_next_one_knows_how_it_ends(
    client: ContainerClient,
) -> None:
    client.contain("k", f"echo before; {WAIT_FOR_GO}; echo after; exit 9")
    client.contain("t", f"{WAIT_FOR_GO}", limit_s=3, grace_s=0)
    began = {key: client.wait_for("began", key) for key in ("k", "t")}
    client.wait_for_output("k")
    client.kill_reaper()
    await client.start()
    assert client.wait_for("began", "k") == began["k"]
    (client.work / "other").write_text("")
    assert client.out("k") == "before\n"
    end = client.end_of("t")
    assert end["reason"] == "time_limit"
    assert end["at_ns"] - began["t"][2] < 10_000_000_000
    asked_ns = boottime_ns()
    (client.work / "go").write_text("")
    end = client.end_of("k")
    assert (end["code"], end["reason"], client.out("k")) == (9, "exited", "before\nafter\n")
    assert end["at_ns"] >= asked_ns
    client.wait_for("gone", "k")
    assert client.containers() == []


async def test_an_end_while_there_was_no_reaper_is_told_with_its_own_instant(
    client: ContainerClient,
) -> None:
    client.contain("k", f"{WAIT_FOR_GO}; echo done; exit 5")
    client.wait_for("began", "k")
    client.kill_reaper()
    asked_ns = boottime_ns()
    (client.work / "go").write_text("")

    def ended() -> bool:
        return [one["State"] for one in client.containers()] == ["exited"]

    wait_until(ended, "it has ended")
    ended_ns = boottime_ns()
    await client.start()
    end = client.end_of("k")
    assert (end["code"], end["reason"], client.out("k")) == (5, "exited", "done\n")
    assert asked_ns <= end["at_ns"] <= ended_ns
    client.wait_for("gone", "k")
    assert client.containers() == []


async def test_why_it_was_stopped_is_known_though_it_ends_when_there_is_no_reaper(
    client: ContainerClient,
) -> None:
    script = f"trap 'echo asked; {WAIT_FOR_GO}; exit 4' TERM; echo up; while :; do sleep 0.05; done"
    client.contain("k", script, limit_s=1, grace_s=100)
    client.wait_for_output("k")
    wait_until(lambda: client.out("k").endswith("asked\n"), "it has heard of its time limit")
    client.kill_reaper()
    (client.work / "go").write_text("")
    wait_until(lambda: [one["State"] for one in client.containers()] == ["exited"], "it has ended")
    await client.start()
    end = client.end_of("k")
    assert (end["code"], end["reason"]) == (4, "time_limit")


async def test_one_of_which_nobody_knows_that_it_began_is_lost_and_removed(
    client: ContainerClient,
) -> None:
    """The reaper dies while podman starts it."""
    client.contain("k", "echo up; sleep 100")
    client.wait_for("order", "k")
    client.kill_reaper()
    await client.start()
    end = client.end_of("k")
    assert (end["code"], end["signal"], end["reason"]) == (None, None, "lost")
    if end["gone_ns"] is None:
        client.wait_for("gone", "k")
    assert client.containers() == []


async def test_one_that_podman_knows_no_more_is_lost(client: ContainerClient) -> None:
    client.contain("k", "sleep 100")
    began = client.wait_for("began", "k")
    client.kill_reaper()
    client.podman.call("rm", "--force", "--time=0", client.name_of("k"))
    await client.start()
    end = client.end_of("k")
    assert (end["reason"], end["at_ns"]) == ("lost", began[2])


async def test_its_lease_ends_it_also_under_the_next_reaper(client: ContainerClient) -> None:
    client.contain("k", "sleep 100", disconnect_s=2, grace_s=0)
    client.wait_for("began", "k")
    contact_ns = boottime_ns()
    client.send(op="renew", at_ns=contact_ns)
    client.kill_reaper()
    await client.start()
    end = client.end_of("k")
    assert end["reason"] == "disconnected"
    assert end["at_ns"] - contact_ns < 6_000_000_000


@pytest.mark.lesson(10)
async def test_only_what_bears_our_mesh_node_and_directory_is_removed(
    client: ContainerClient, podman: Podman
) -> None:
    ours, key = client.labels, "penstock.lease"
    others = {
        "mesh": {**ours, "penstock.mesh": "other"},
        "node": {**ours, "penstock.node": "n2"},
        "directory": {**ours, "penstock.directory": "another"},
        "none": {key: "7/J/0"},
    }
    client.kill_reaper()
    (client.directory / "reaper.log").unlink()
    names = []
    for what, labels in {**others, "ours": {**ours, key: "7/J/0"}}.items():
        names.append(f"{client.name_of('x')}-{what}")
        marks = [f"--label={name}={value}" for name, value in {key: "8/K/0", **labels}.items()]
        options = ("--network=host", *podman.run_options, *marks, f"--name={names[-1]}")
        podman.call("run", "--detach", "--log-driver=none", *options, podman.image, "sleep", "100")
    try:
        await client.start()
        assert client.known() == ["7/J/0"]
        end = client.end_of("7/J/0")
        assert end["reason"] == "lost"
        if end["gone_ns"] is None:
            client.wait_for("gone", "7/J/0")
        running = {one["Names"][0] for one in podman.containers(key) if one["State"] == "running"}
        assert running >= set(names[:-1])
        assert names[-1] not in running
    finally:
        podman.call("rm", "--force", "--ignore", "--time=0", *names)


async def test_a_reaper_that_is_told_to_end_stops_containers_first(
    client: ContainerClient,
) -> None:
    client.contain("k", "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done")
    client.wait_for("began", "k")
    client.wait_for_output("k")
    pid = client.pid
    os.kill(pid, signal.SIGTERM)
    end = client.end_of("k")
    assert (end["code"], end["reason"]) == (3, "stopped")
    wait_until(lambda: not (client.directory / "reaper.pid").exists(), "the reaper ends")
    assert client.containers() == []


async def test_a_new_agent_is_told_of_containers_as_they_are(client: ContainerClient) -> None:
    client.contain("k", f"echo up; {WAIT_FOR_GO}; exit 2")
    client.wait_for_output("k")
    client.wait_for("began", "k")
    client.connect()
    assert client.known() == ["k"]
    (client.work / "go").write_text("")
    assert client.end_of("k")["code"] == 2


@pytest.mark.lesson(10)
def test_a_container_of_another_that_has_our_name_is_neither_used_nor_removed(
    client: ContainerClient, podman: Podman
) -> None:
    name = client.name_of("k")
    options = ("--network=host", *podman.run_options, f"--name={name}")
    podman.call("run", "--detach", "--log-driver=none", *options, podman.image, "sleep", "100")
    try:
        client.contain("k", "true")
        end = client.end_of("k")
        assert (end["code"], end["reason"]) == (None, "lost")
        assert "name" in end["message"]
        assert podman.call("inspect", "--format={{.State.Status}}", name) == "running\n"
    finally:
        podman.call("rm", "--force", "--time=0", name)


@pytest.mark.parametrize("program", ["/bin/false", "/no/such/podman"])
async def test_a_podman_that_does_not_answer_keeps_no_agent_out(
    client: ContainerClient, program: str
) -> None:
    client.kill_reaper()
    settings = {"podman": [program], "labels": client.labels}
    (client.directory / "containers.json").write_text(json.dumps(settings), "ascii")
    await client.start()
    client.shell("p", "exit 6")
    assert client.end_of("p")["code"] == 6


async def test_a_container_that_saves_its_work_hears_nothing_else_from_the_next_reaper(
    client: ContainerClient,
) -> None:
    script = f"trap 'echo asked' USR1; trap 'exit 9' TERM; echo on; {WAIT_FOR_GO}; exit 3"
    client.contain("k", script)
    client.wait_for("began", "k")
    client.wait_for_output("k")
    client.send(op="stop", key="k", reason="preempted", grace_s=60, signal="SIGUSR1")
    wait_until(lambda: "asked" in client.out("k"), "it is asked to save its work")
    client.kill_reaper()
    await client.start()
    wait_until(lambda: client.out("k").count("asked") == 2, "it is asked again")
    (client.work / "go").write_text("")
    end = client.end_of("k")
    assert (end["code"], end["reason"]) == (3, "preempted")
