"""What does an agent do that has lost its state directory, while its host and its work live on?"""

from __future__ import annotations

import os
import shutil
import signal
from typing import Any

import msgspec
import pytest

from agent.builders import a_node, a_shell_order, an_end, an_order, ordered
from agent.reaper_client import alive
from agent.scripted import Mesh
from penstock_contracts.leases import STOP, Exited, Released
from penstock_node_agent.core import events
from penstock_node_agent.core.instructions import Spawn, Stop
from penstock_node_agent.core.machine import handle


@pytest.mark.lesson(1, 9)
async def test_work_of_a_lost_state_directory_ends_and_is_not_begun_again(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent = agent_factory()
    await eventually(mesh.reachable)
    tally = agent.directory.parent / "tally"
    order = a_shell_order(f"echo $$ >>{tally}; exec sleep 600", devices=("SIM-n1-0",))
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Started") and tally.exists())
    agent.kill()
    orphaned = agent.reaper_pid
    shutil.rmtree(agent.directory)
    try:
        agent.start()
        await eventually(mesh.reachable)
        mesh.held[order.key] = msgspec.structs.replace(order, begun=True)
        assert (await mesh.order_all()).ok
        await eventually(lambda: mesh.has(order, "Released"))
    finally:
        os.kill(orphaned, signal.SIGKILL)
    (pid,) = map(int, tally.read_text("ascii").split())
    assert not alive(pid), "what is released is gone"
    assert (mesh.end(order).reason, mesh.end(order).exit_code) == ("lost", None)


@pytest.mark.lesson(1)
@pytest.mark.parametrize("phase", ["run", STOP])
def test_what_has_begun_and_is_not_known_is_lost_and_never_begun(phase: str) -> None:
    state, order = a_node(), an_order(begun=True, phase=phase, devices=("D0",))
    todo = handle(state, ordered(order))
    assert not [each for each in todo if isinstance(each, Spawn)]
    assert [type(item) for item in state.reports[-2:]] == [Exited, Released]
    assert state.held_keys() == [order.key]


@pytest.mark.lesson(1, 9)
def test_nothing_is_called_released_while_the_reaper_still_ends_it() -> None:
    state, order = a_node(), an_order(begun=True, devices=("D0",))
    todo = handle(state, events.Began(at_ns=1, key=order.key))
    assert todo == [Stop(order.key, "cancelled", 0)]
    handle(state, events.ReaperReady(at_ns=2, keys=(order.key,)))
    handle(state, ordered(order))
    assert state.held_keys() == [], "so that everything is sent again"
    handle(state, an_end(order, at_ns=5, reason="cancelled", code=None))
    handle(state, ordered(order, as_of=2, full=True))
    assert state.held_keys() == [order.key]
    assert isinstance(state.reports[-1], Released)
