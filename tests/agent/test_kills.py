"""Does anything get lost when an agent, a reaper or the broker is killed?"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from typing import Any

import pytest

from agent.accounts import assert_once, assert_segments_match_ends, assert_two_accounts_agree
from agent.builders import a_shell_order, an_order
from agent.reaper_client import alive, wait_until
from agent.scripted import AgentProcess, Mesh
from penstock_contracts.leases import LeaseOrder


@pytest.mark.lesson(1, 23)
async def test_an_agent_killed_again_and_again_loses_and_repeats_nothing(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    rng = random.Random(7)
    agent: AgentProcess = agent_factory()
    await eventually(mesh.reachable)
    orders: list[LeaseOrder] = []
    codes: dict[int, int] = {}
    for burst in range(6):
        for number in range(8):
            code = rng.randrange(1, 100)
            script = f"echo ran >>$PENSTOCK_TALLY; sleep 0.{rng.randrange(5)}; echo x; exit {code}"
            env = {"PENSTOCK_TALLY": str(agent.directory.parent / f"ran-{burst}-{number}")}
            order = a_shell_order(script, env=env, devices=(f"SIM-n1-{number % 4}",))
            orders.append(order)
            codes[order.lease_seq] = code
            mesh.held[order.key] = order
        sending = asyncio.ensure_future(mesh.order_all())
        deadline = asyncio.get_running_loop().time() + rng.random() * 0.3
        await eventually(lambda deadline=deadline: asyncio.get_running_loop().time() > deadline)
        agent.kill()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        agent.start()
        await eventually(mesh.reachable)
        assert (await mesh.order_all()).ok
    await eventually(lambda: all(mesh.has(order, "Released") for order in orders), 30.0)
    assert_once(mesh, orders)
    for order in orders:
        assert mesh.end(order).exit_code == codes[order.lease_seq]
        await eventually(lambda order=order: mesh.text(order, "stdout") == b"x\n")
    for tally in agent.directory.parent.glob("ran-*"):
        assert tally.read_text("ascii") == "ran\n", "no job runs twice"
    await eventually(mesh.audit)
    await eventually(lambda: len(mesh.leases_metered()) == len(orders))
    assert_segments_match_ends(mesh, orders)
    assert_two_accounts_agree(mesh)


@pytest.mark.lesson(1)
async def test_what_ends_while_no_agent_is_there_is_told_as_the_reaper_stamped_it(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent = agent_factory()
    await eventually(mesh.reachable)
    order = a_shell_order("echo before; sleep 0.4; echo after; exit 3", devices=("SIM-n1-2",))
    await mesh.order(order)
    await eventually(lambda: mesh.text(order, "stdout") == b"before\n")
    agent.kill()
    log = agent.directory / "reaper.log"
    await eventually(lambda: b'"ended"' in log.read_bytes())
    lines = [json.loads(line) for line in log.read_bytes().splitlines()]
    (began_ns,) = [line[2] for line in lines if line[0] == "began"]
    (ended_ns,) = [line[2] for line in lines if line[0] == "ended"]
    agent.start()
    await eventually(lambda: mesh.has(order, "Released"))
    end = mesh.end(order)
    assert (end.exit_code, end.log_bytes["stdout"]) == (3, 13)
    assert abs(end.at_ms - end.started_ms - (ended_ns - began_ns) / 1_000_000) <= 1
    await eventually(lambda: mesh.text(order, "stdout") == b"before\nafter\n")
    await eventually(mesh.reachable)
    reply = await mesh.audit()
    assert reply.usage_seq > 0
    assert_segments_match_ends(mesh, [order])
    assert_two_accounts_agree(mesh)


async def test_what_ends_while_the_agent_stands_still_is_billed_to_its_end_and_not_to_the_thaw(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent = agent_factory()
    await eventually(mesh.reachable)
    order = a_shell_order("sleep 0.3", devices=("SIM-n1-2",))
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Started"))
    os.kill(agent.pid, signal.SIGSTOP)
    auditing = asyncio.ensure_future(mesh.audit())
    log = agent.directory / "reaper.log"
    await eventually(lambda: b'"ended"' in log.read_bytes())
    loop = asyncio.get_running_loop()
    later_s = loop.time() + 0.3
    await eventually(lambda: loop.time() > later_s)
    os.kill(agent.pid, signal.SIGCONT)
    await auditing
    await eventually(lambda: mesh.has(order, "Released"))
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    began_ns, ended_ns = (next(x[2] for x in lines if x[0] == kind) for kind in ("began", "ended"))
    end = mesh.end(order)
    assert abs((end.at_ms - end.started_ms) - (ended_ns - began_ns) / 1_000_000) <= 1
    await eventually(lambda: mesh.leases_metered() == {order.lease_seq})
    assert_segments_match_ends(mesh, [order])
    assert_two_accounts_agree(mesh)


async def test_a_killed_reaper_means_lost_and_the_node_goes_on(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent = agent_factory()
    await eventually(mesh.reachable)
    order = a_shell_order("echo $$; exec sleep 60", devices=("SIM-n1-0",))
    await mesh.order(order)
    pid = int(await eventually(lambda: mesh.text(order, "stdout")))
    os.kill(agent.reaper_pid, signal.SIGKILL)
    await eventually(lambda: mesh.has(order, "Released"))
    end = mesh.end(order)
    assert (end.reason, end.exit_code, end.signal) == ("lost", None, None)
    assert not alive(pid), "released is said only when nothing is left"
    following = an_order(command=("true",), devices=("SIM-n1-0",))
    await mesh.order(following)
    await eventually(lambda: mesh.has(following, "Released"))
    assert mesh.end(following).exit_code == 0
    await mesh.audit()
    assert_two_accounts_agree(mesh)


@pytest.mark.lesson(14)
async def test_fifty_megabytes_arrive_though_the_agent_is_killed_meanwhile(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent = agent_factory()
    await eventually(mesh.reachable)
    script = "i=0; while [ $i -lt 50 ]; do head -c 1048576 /dev/urandom; i=$((i+1)); done"
    order = a_shell_order(f"({script}) | tee copy; cksum <copy >&2; rm copy")
    await mesh.order(order)
    await eventually(lambda: mesh.size(order, "stdout") > 1 << 20)
    agent.kill()
    agent.start()
    await eventually(lambda: mesh.has(order, "Released"), 30.0)
    size = mesh.end(order).log_bytes["stdout"]
    assert size == 50 << 20
    await eventually(lambda: mesh.size(order, "stdout") == size, 30.0)
    spool = agent.directory / "spool" / "0.out"
    assert not spool.exists() or spool.stat().st_size == size
    check = await asyncio.create_subprocess_exec(
        "cksum", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await check.communicate(mesh.text(order, "stdout"))
    await eventually(lambda: mesh.text(order, "stderr") == out)
    await eventually(lambda: not spool.exists())


@pytest.mark.lesson(13)
async def test_nothing_is_lost_while_the_broker_is_away(
    mesh: Mesh, agent_factory: Any, nats_server: Any, eventually: Any
) -> None:
    agent = agent_factory()
    await eventually(mesh.reachable)
    order = a_shell_order("echo one; while ! [ -e go ]; do sleep 0.02; done; echo two; exit 6")
    await mesh.order(order)
    await eventually(lambda: mesh.text(order, "stdout") == b"one\n")
    nats_server.kill()
    (agent.directory / "work" / "0" / "go").touch()
    log = agent.directory / "reaper.log"
    wait_until(lambda: b'"ended"' in log.read_bytes(), "the job has ended")
    nats_server.start()
    await eventually(lambda: mesh.has(order, "Released"), 30.0)
    assert mesh.end(order).exit_code == 6
    await eventually(lambda: mesh.text(order, "stdout") == b"one\ntwo\n", 30.0)
    assert_once(mesh, [order])


async def test_stopping_with_the_work_needs_no_broker(
    mesh: Mesh, agent_factory: Any, nats_server: Any, eventually: Any
) -> None:
    agent = agent_factory("--stop-work-on-exit")
    await eventually(mesh.reachable)
    order = a_shell_order("echo $$; exec sleep 60")
    await mesh.order(order)
    pid = int(await eventually(lambda: mesh.text(order, "stdout")))
    agent.kill()
    nats_server.kill()
    reaper = agent.reaper_pid
    agent.start()
    wait_until(lambda: "no broker yet" in agent.log(), "the agent looks for its broker")
    assert agent.terminate() == 0
    assert not alive(pid) and not alive(reaper)
    nats_server.start()
    agent.start()
    await eventually(lambda: mesh.has(order, "Released"), 30.0)
    assert mesh.end(order).reason == "stopped"
