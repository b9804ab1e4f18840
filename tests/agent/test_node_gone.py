"""What of a job's output is left when its node is gone for good?"""

from __future__ import annotations

import os
import shutil
import signal
from typing import Any

import pytest

from agent.builders import a_shell_order
from agent.reaper_client import alive, wait_until
from agent.scripted import AgentProcess, Mesh

LINES = 2_000
WRITTEN = "".join(f"line {number}\n" for number in range(LINES)).encode()


def destroy(agent: AgentProcess, job_pid: int) -> None:
    """Agent, reaper, work and disk, all at once and without a word."""
    reaper = agent.reaper_pid
    os.kill(reaper, signal.SIGSTOP)
    agent.kill()
    for pid in (reaper, job_pid):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: not alive(pid), f"{pid} is gone")
    shutil.rmtree(agent.directory)


@pytest.mark.lesson(14)
async def test_what_a_job_wrote_is_read_after_its_node_and_its_disk_are_gone(
    mesh: Mesh, bus: Any, agent_factory: Any, eventually: Any
) -> None:
    agent = agent_factory()
    await eventually(mesh.reachable)
    lines = f"i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i+1)); done"
    order = a_shell_order(f"echo $$ >&2; {lines}; exec sleep 600")
    await mesh.order(order)
    pid = int(await eventually(lambda: mesh.text(order, "stderr")))
    await eventually(lambda: mesh.size(order, "stdout") == len(WRITTEN))
    destroy(agent, pid)
    assert not mesh.has(order, "Exited"), "nobody was there to say anything"
    later = Mesh(bus)
    await later.open()
    await eventually(lambda: later.text(order, "stdout") == WRITTEN)
    assert later.text(order, "stderr") == f"{pid}\n".encode()
