"""Does an agent that is told to stop empty its node first where asked, and tell its supervisor?"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

from agent.builders import a_shell_order, an_order
from agent.reaper_client import alive
from agent.scripted import AgentProcess, Mesh
from penstock_contracts.nodes import NO_NEW_WORK
from penstock_node_agent.supervision import Supervisor
from penstock_runtime.process import StopSignal

WAITING = "echo $$; while ! [ -e go ]; do sleep 0.02; done; exit 5"


def _facts(mesh: Mesh) -> dict[str, str]:
    mesh.hear()
    return mesh.descriptions[-1].facts


async def test_an_agent_that_drains_takes_nothing_new_and_ends_when_its_work_has(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent: AgentProcess = agent_factory("--drain-on-stop", "60")
    await eventually(mesh.reachable)
    order = a_shell_order(WAITING, devices=("SIM-n1-0",))
    await mesh.order(order)
    await eventually(lambda: mesh.size(order, "stdout"))
    os.kill(agent.pid, 15)
    await eventually(lambda: "about to stop" in _facts(mesh).get(NO_NEW_WORK, ""))
    late = an_order(devices=("SIM-n1-1",))
    await mesh.order(late)
    await eventually(lambda: mesh.has(late, "Declined"))
    assert not agent.process_ended
    (agent.directory / "work" / "0" / "go").touch()
    assert await asyncio.to_thread(agent.wait) == 0
    assert mesh.kinds(order) == ["Preparing", "Started", "Exited", "Released"]
    assert mesh.end(order).exit_code == 5
    agent.start()
    await eventually(lambda: NO_NEW_WORK not in _facts(mesh))


async def test_what_does_not_end_in_time_goes_on_without_the_agent(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent: AgentProcess = agent_factory("--drain-on-stop", "0.5")
    await eventually(mesh.reachable)
    order = a_shell_order(WAITING)
    await mesh.order(order)
    pid = int(await eventually(lambda: mesh.text(order, "stdout")))
    assert await asyncio.to_thread(agent.terminate) == 0
    assert alive(pid) and not mesh.has(order, "Exited")
    agent.start()
    await eventually(mesh.reachable)
    (agent.directory / "work" / "0" / "go").touch()
    await eventually(lambda: mesh.has(order, "Released"))
    assert mesh.end(order).exit_code == 5


async def test_the_supervisor_hears_of_start_stop_and_a_loop_that_turns(
    tmp_path: Path, eventually: Any
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as line:
        line.bind(str(tmp_path / "notify"))
        told: list[str] = []

        def heard(text: str) -> bool:
            try:
                told.append(line.recv(4096).decode())
            except BlockingIOError:
                return text in told
            return text in told

        supervisor = Supervisor(
            {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000"}
        )
        stop = StopSignal()
        telling = asyncio.ensure_future(supervisor.accompany(stop, 20.0))
        await eventually(lambda: heard("READY=1"))
        await eventually(lambda: heard("WATCHDOG=1"))
        await eventually(lambda: heard("WATCHDOG=1") and told.count("WATCHDOG=1") > 2)
        stop.request("SIGTERM")
        await eventually(lambda: heard("STOPPING=1\nEXTEND_TIMEOUT_USEC=20000000"))
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def test_without_a_supervisor_nothing_is_said() -> None:
    await Supervisor({}).accompany(StopSignal(), 20.0)


async def test_a_supervisor_that_has_gone_ends_nothing(tmp_path: Path) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": f"@{tmp_path}/nobody"})
    stop = StopSignal()
    stop.request("SIGTERM")
    await supervisor.accompany(stop, 20.0)
