"""Does an agent run what it is told, and tell what it ran?"""

from __future__ import annotations

from typing import Any

from agent.builders import a_shell_order
from agent.scripted import Mesh


async def test_a_job_runs_and_every_step_is_reported_in_order(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent_factory()
    await eventually(mesh.reachable)
    order = a_shell_order("echo out; echo err >&2; exit 7", devices=("SIM-n1-0",))
    ack = await mesh.order(order)
    assert ack.ok
    await eventually(lambda: mesh.has(order, "Released"))
    assert mesh.kinds(order) == ["Preparing", "Started", "Exited", "Released"]
    end = mesh.end(order)
    assert (end.reason, end.exit_code, end.signal) == ("exited", 7, None)
    assert end.log_bytes == {"stdout": 4, "stderr": 4}
    await eventually(lambda: mesh.text(order, "stdout") == b"out\n")
    await eventually(lambda: mesh.text(order, "stderr") == b"err\n")
    await eventually(lambda: len(mesh.segments) == 1)
