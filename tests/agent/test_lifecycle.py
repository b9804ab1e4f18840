"""Does an agent run what it is told, and tell what it ran?"""

from __future__ import annotations

import os
import signal
from typing import Any

import msgspec
import pytest

from agent.builders import a_shell_order, an_order
from agent.reaper_client import alive
from agent.scripted import Mesh
from penstock_contracts.ids import traceparent
from penstock_contracts.leases import PREPARE, RUN, STOP, NodeDesired, lease_digest
from penstock_runtime.process import EXIT_STEPPED_DOWN


async def test_a_job_runs_and_every_step_is_reported_in_order(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent_factory()
    await eventually(mesh.reachable)
    order = a_shell_order("echo out; echo err >&2; exit 7", devices=("SIM-n1-0",))
    assert (await mesh.order(order)).ok
    await eventually(lambda: mesh.has(order, "Released"))
    assert mesh.kinds(order) == ["Preparing", "Started", "Exited", "Released"]
    end = mesh.end(order)
    assert (end.reason, end.exit_code, end.signal) == ("exited", 7, None)
    assert end.log_bytes == {"stdout": 4, "stderr": 4}
    await eventually(lambda: mesh.text(order, "stdout") == b"out\n")
    await eventually(lambda: mesh.text(order, "stderr") == b"err\n")


async def test_instants_stand_on_the_leases_own_axis(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent_factory()
    await eventually(mesh.reachable)
    order = a_shell_order("sleep 0.2", granted_ns=10**18)  # the server's clock, far from the host's
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Released"))
    instants = [item.at_ms for item in mesh.story(order)]
    assert instants == sorted(instants)
    assert instants[0] == 10**12
    assert 200 <= mesh.end(order).at_ms - mesh.end(order).started_ms < 5_000


async def test_what_is_written_by_name_to_the_standard_error_is_told_though_that_empties_the_file(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent = agent_factory()
    await eventually(mesh.reachable)
    order = a_shell_order(
        "echo progress and more of it >&2; while ! [ -e go ]; do sleep 0.02; done; "
        "echo fatal >/dev/stderr; exit 3"
    )
    await mesh.order(order)
    await eventually(lambda: mesh.text(order, "stderr") == b"progress and more of it\n")
    (agent.directory / "work" / "0" / "go").touch()
    await eventually(lambda: mesh.has(order, "Released"))
    await eventually(lambda: mesh.text(order, "stderr") == b"progress and more of it\nfatal\n")
    assert mesh.end(order).log_bytes["stderr"] == 30


async def test_every_start_describes_the_node(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent = agent_factory("--label", "site=a")
    await eventually(mesh.reachable)
    await eventually(lambda: mesh.hear() or mesh.descriptions[-1].facts)
    description, told = mesh.descriptions[-1], len(mesh.descriptions)
    agent.kill()
    agent.start()
    await eventually(lambda: mesh.hear() or len(mesh.descriptions) > told)
    assert mesh.descriptions[-1] == description, "one boot, one node"
    assert (len(description.devices), description.labels) == (4, {"site": "a"})
    assert (description.cpu_milli, description.memory_mib) == (64_000, 512 * 1024)
    assert (description.devices[3].uuid, description.devices[3].model) == ("SIM-n1-3", "H100")


async def test_a_job_finds_its_identity_and_devices_in_its_environment(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent_factory()
    await eventually(mesh.reachable)
    order = a_shell_order(
        "env; pwd", devices=("SIM-n1-1", "SIM-n1-3"), env={"MINE": "a b", "RANK": "no"}
    )
    await mesh.order(order)
    await eventually(lambda: b"\n/" in mesh.text(order, "stdout"))
    lines = mesh.text(order, "stdout").decode().splitlines()
    env = dict(line.split("=", 1) for line in lines[:-1])
    assert env["MINE"] == "a b"
    assert env["CUDA_VISIBLE_DEVICES"] == "1,3"
    assert (env["RANK"], env["WORLD_SIZE"], env["LOCAL_RANK"]) == ("0", "1", "0")
    assert (env["PENSTOCK_JOB_ID"], env["PENSTOCK_LEASE"]) == (order.job_id, order.key)
    assert (env["PENSTOCK_TENANT"], env["PENSTOCK_NODE"], env["PENSTOCK_ATTEMPT"]) == (
        ("acme", "n1", "1")
    )
    assert env["TRACEPARENT"] == traceparent(order.job_id, 1, "execute")
    assert "MASTER_ADDR" not in env and "PYTEST_CURRENT_TEST" not in env
    without = a_shell_order("echo [$CUDA_VISIBLE_DEVICES]")
    await mesh.order(without)
    await eventually(lambda: mesh.text(without, "stdout") == b"[]\n")


async def test_ranks_prepare_and_then_run_with_the_rendezvous(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent_factory()
    await eventually(mesh.reachable)
    script = "echo $MASTER_ADDR $MASTER_PORT $RANK $WORLD_SIZE $LOCAL_RANK"
    first = a_shell_order(script, ranks=2, phase=PREPARE)
    second = msgspec.structs.replace(first, rank=1, local_rank=1)
    await mesh.order(first, second)
    await eventually(lambda: mesh.has(first, "Prepared") and mesh.has(second, "Prepared"))
    where = mesh.story(first)[-1].rendezvous
    assert where.address == "127.0.0.1" and 21000 <= where.port <= 21099
    assert mesh.story(second)[-1].rendezvous is None
    assert not mesh.has(first, "Started")
    running = [
        msgspec.structs.replace(order, phase=RUN, rendezvous=where) for order in (first, second)
    ]
    await mesh.order(*running)
    for order, rank in zip(running, "01", strict=True):
        text = f"127.0.0.1 {where.port} {rank} 2 {rank}\n".encode()
        await eventually(lambda order=order, text=text: mesh.text(order, "stdout") == text)
        await eventually(lambda order=order: mesh.has(order, "Released"))
        assert mesh.kinds(order) == ["Preparing", "Prepared", "Started", "Exited", "Released"]


@pytest.mark.lesson(22)
async def test_a_stop_ends_the_work_and_says_why(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent_factory()
    await eventually(mesh.reachable)
    order = an_order(command=("sleep", "60"))
    held = an_order(command=("sleep", "60"), ranks=2, rank=1, phase=PREPARE)
    await mesh.order(order, held)
    await eventually(lambda: mesh.has(order, "Started") and mesh.has(held, "Prepared"))
    await mesh.order(
        *(
            msgspec.structs.replace(each, phase=STOP, stop_reason="cancelled")
            for each in (order, held)
        )
    )
    await eventually(lambda: mesh.has(order, "Released") and mesh.has(held, "Released"))
    assert (mesh.end(order).reason, mesh.end(order).signal) == ("cancelled", signal.SIGTERM)
    assert (mesh.end(held).reason, mesh.end(held).started_ms) == ("cancelled", None)
    assert mesh.end(held).segments == 0


@pytest.mark.lesson(1, 3)
async def test_a_dropped_lease_is_killed_and_forgotten(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent_factory()
    await eventually(mesh.reachable)
    order, kept = an_order(command=("sleep", "60")), an_order(command=("sleep", "61"))
    await mesh.order(order, kept)
    await eventually(lambda: mesh.has(order, "Started") and mesh.has(kept, "Started"))
    await eventually(lambda: mesh.beats[-1].digest == lease_digest([order.key, kept.key]))
    del mesh.held[order.key]
    await mesh.order_all()
    await eventually(lambda: mesh.has(order, "Released"))
    await eventually(lambda: mesh.beats[-1].digest == lease_digest([kept.key]))
    assert mesh.beats[-1].as_of == mesh.as_of
    assert not mesh.has(kept, "Exited")


async def test_older_and_foreign_orders_change_nothing(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent_factory()
    await eventually(mesh.reachable)
    order = an_order(command=("sleep", "60"), lease_seq=90)
    await mesh.order(order)
    older = msgspec.structs.replace(order, lease_seq=50, command=("touch", "/nowhere"))
    ack = await mesh.send(NodeDesired(as_of=mesh.as_of - 1, full=True))
    assert (ack.ok, ack.as_of) == (False, mesh.as_of)
    ack = await mesh.send(NodeDesired(as_of=mesh.as_of + 5, base=mesh.as_of + 1))
    assert (ack.ok, ack.as_of) == (False, mesh.as_of)
    assert (await mesh.order(older)).ok
    again = await mesh.send(NodeDesired(as_of=mesh.as_of, base=mesh.as_of - 1, leases=(older,)))
    assert again.ok, "the delta it took last is acknowledged again"
    await eventually(lambda: mesh.has(order, "Started"))
    assert mesh.kinds(older) == []


async def test_a_lease_on_a_device_that_is_not_there_is_declined(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent_factory()
    await eventually(mesh.reachable)
    order = an_order(devices=("SIM-n1-0", "SIM-n1-9"))
    await mesh.order(order)
    await eventually(lambda: mesh.story(order))
    (declined,) = mesh.story(order)
    assert declined.code == "device_unknown"
    assert "SIM-n1-9" in declined.message


async def test_a_program_that_is_not_there_ends_as_spawn_failed(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent_factory()
    await eventually(mesh.reachable)
    order = an_order(command=("no-such-program-anywhere",))
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Released"))
    assert mesh.kinds(order) == ["Preparing", "Exited", "Released"]
    end = mesh.end(order)
    assert (end.reason, end.exit_code, end.started_ms, end.segments) == (
        ("spawn_failed", None, None, 0)
    )
    assert "no-such-program-anywhere" in end.message


async def test_the_time_limit_ends_the_work(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent_factory()
    await eventually(mesh.reachable)
    order = an_order(command=("sleep", "60"), time_limit_s=1)
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Released"))
    end = mesh.end(order)
    assert (end.reason, end.signal) == ("time_limit", signal.SIGTERM)
    assert 1_000 <= end.at_ms - end.started_ms < 3_000


async def test_every_attempt_finds_an_empty_directory_of_its_own(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent_factory()
    await eventually(mesh.reachable)
    dirty = a_shell_order("mkdir -p a/b && echo x >a/b/c && chmod 0 a/b && chmod 500 . && ls")
    await mesh.order(dirty)
    await eventually(lambda: mesh.text(dirty, "stdout") == b"a\n")
    await eventually(lambda: mesh.has(dirty, "Released"))
    for _ in range(3):
        clean = a_shell_order("ls -A | wc -l; stat -c %a .; stat -Lc %s /proc/self/fd/2")
        await mesh.order(clean)
        await eventually(lambda clean=clean: mesh.text(clean, "stdout") == b"0\n700\n0\n")


async def test_stopping_with_the_work_ends_everything_and_says_stopped(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent = agent_factory("--stop-work-on-exit")
    await eventually(mesh.reachable)
    running = a_shell_order("echo on; exec sleep 60")
    prepared = an_order(ranks=2, rank=1, phase=PREPARE)
    await mesh.order(running, prepared)
    await eventually(lambda: mesh.text(running, "stdout") and mesh.has(prepared, "Prepared"))
    reaper = agent.reaper_pid
    assert agent.terminate(timeout_s=10.0) == 0
    await eventually(lambda: mesh.has(running, "Released") and mesh.has(prepared, "Released"))
    assert (mesh.end(running).reason, mesh.end(prepared).reason) == ("stopped", "stopped")
    assert len(mesh.segments) == 1
    await eventually(lambda: not alive(reaper))
    assert not (agent.directory / "reaper.pid").exists()


async def test_stopping_without_the_work_leaves_it_alone(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent = agent_factory()
    await eventually(mesh.reachable)
    order = a_shell_order("echo $$; exec sleep 60")
    await mesh.order(order)
    pid = int(await eventually(lambda: mesh.text(order, "stdout")))
    assert agent.terminate() == 0
    assert alive(pid) and alive(agent.reaper_pid)
    agent.start()
    await eventually(mesh.reachable)
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: mesh.has(order, "Released"))
    assert mesh.end(order).signal == signal.SIGKILL


async def test_a_second_agent_on_the_same_directory_does_not_start(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent_factory()
    await eventually(mesh.reachable)
    second = agent_factory()
    assert second.wait() == EXIT_STEPPED_DOWN
    assert "is in use by another agent" in second.log()
    assert await mesh.reachable()
