"""Does work that has to yield hear of it by the signal that it asked for?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.builders import a_node, a_shell_order, an_order, ordered
from agent.reaper_rig import RealRig, SimulatedRig
from agent.scripted import AgentProcess, Mesh
from penstock_contracts.leases import STOP, LeaseOrder
from penstock_node_agent.core import events
from penstock_node_agent.core.instructions import Stop
from penstock_node_agent.core.machine import handle
from penstock_node_agent.core.state import State
from penstock_node_agent.reaper.attempts import Attempt, fold
from tests.simulation.workload import Script

SAVES = """
trap 'echo saved; exit 0' USR1
trap 'exit 9' TERM
echo on
while :; do sleep 0.02; done
"""
USR1 = 10


@pytest.fixture(params=["real", "simulated"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    rig = RealRig(tmp_path) if request.param == "real" else SimulatedRig()
    yield rig
    rig.close()


def follow(state: State, *happened: Any) -> list[Any]:
    return [todo for event in happened for todo in handle(state, event)]


def stopping(order: LeaseOrder, **changes: Any) -> LeaseOrder:
    changes = {"stop_reason": "preempted", "stop_signal": "SIGUSR1", **changes}
    return msgspec.structs.replace(order, phase=STOP, **changes)


# -- the core --------------------------------------------------------------------------------------
def test_the_reaper_is_asked_for_that_signal_once_and_by_an_agent_that_begins_anew_again() -> None:
    state, order = a_node(), an_order(grace_s=60)
    follow(state, ordered(order), events.Began(at_ns=20, key=order.key))
    stop = Stop(order.key, "preempted", 60, "SIGUSR1")
    assert follow(state, ordered(stopping(order), as_of=2)) == [stop]
    assert follow(state, ordered(stopping(order), as_of=3)) == []
    assert follow(state, events.ReaperReady(at_ns=40, keys=(order.key,)))[0] == stop


# -- the reaper ------------------------------------------------------------------------------------
async def test_work_dies_of_the_signal_it_asked_for_unless_it_heeds_it(rig: Any) -> None:
    await rig.start()
    rig.spawn("yields", Script(run_s=60))
    rig.wait_until_running("yields")
    rig.send(op="stop", key="yields", reason="preempted", grace_s=60, signal="SIGUSR1")
    end = rig.wait_for("ended", "yields")
    assert (end[4], end[5]) == (USR1, "preempted")


async def test_a_signal_that_nobody_knows_is_as_sigterm(rig: Any) -> None:
    await rig.start()
    for key, number in (("a", "SIGNONE"), ("b", ""), ("c", None)):
        rig.spawn(key, Script(run_s=60))
        rig.wait_until_running(key)
        rig.send(op="stop", key=key, reason="preempted", grace_s=60, signal=number)
        assert rig.wait_for("ended", key)[4] == 15


def test_a_reaper_that_takes_over_a_container_asks_it_in_the_same_way() -> None:
    told = {"grace_s": 9, "limit_s": None, "disconnect_s": None, "contact_ns": 5}
    attempts: dict[str, Attempt] = {}
    for key, more in (("usr1", [USR1]), ("term", [])):
        fold(attempts, ["order", key, 1, "out", "err", "", dict(told)])
        fold(attempts, ["stopping", key, "preempted", "", *more])
        attempts[key].remember()
    assert [attempts[key].notice for key in ("usr1", "term")] == [USR1, 15]
    assert attempts["usr1"].reason == "preempted"


# -- the agent -------------------------------------------------------------------------------------
async def test_what_it_saves_within_its_grace_is_stored_before_its_place_is_free(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent: AgentProcess = agent_factory()
    await eventually(mesh.reachable, 60.0)
    order = a_shell_order(SAVES, grace_s=60)
    await mesh.order(order)
    await eventually(lambda: mesh.size(order, "stdout"), 60.0)
    agent.kill()
    agent.start()
    await eventually(mesh.reachable, 60.0)
    await mesh.order(stopping(order))
    await eventually(lambda: mesh.has(order, "Released"), 60.0)
    end = mesh.end(order)
    assert (end.exit_code, end.reason) == (0, "preempted")
    await eventually(lambda: mesh.text(order, "stdout") == b"on\nsaved\n")
    assert mesh.kinds(order) == ["Preparing", "Started", "Exited", "Released"]
