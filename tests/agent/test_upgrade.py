"""Are agent and reaper replaced by those of another version without any job noticing?"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import penstock_node_agent
from agent.builders import a_shell_order
from agent.reaper_client import alive
from agent.scripted import AgentProcess, Mesh


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """An installation whose reaper has other code."""
    package = Path(penstock_node_agent.__file__).parent
    copy = tmp_path / "newer"
    shutil.copytree(package, copy / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    with open(copy / package.name / "reaper" / "loop.py", "a", encoding="utf-8") as file:
        file.write("\nTHE_NEWER = True\n")
    return copy


async def test_an_upgrade_takes_over_what_runs_and_renews_the_reaper_once_it_has_no_work(
    mesh: Mesh, agent_factory: Any, newer: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent: AgentProcess = agent_factory()
    await eventually(mesh.reachable)
    order = a_shell_order(
        "echo $$; while ! [ -e go ]; do sleep 0.02; done; echo done; exit 6",
        devices=("SIM-n1-0",),
    )
    await mesh.order(order)
    pid = int(await eventually(lambda: mesh.text(order, "stdout")))
    older = agent.reaper_pid
    agent.terminate()
    monkeypatch.setenv("PYTHONPATH", f"{newer}:{os.environ.get('PYTHONPATH', '')}")
    agent.start()
    await eventually(mesh.reachable)
    beats = len(mesh.beats)
    await eventually(lambda: len(mesh.beats) > beats + 5)
    assert alive(pid) and agent.reaper_pid == older, "no job is ended for an upgrade"

    (agent.directory / "work" / "0" / "go").touch()
    await eventually(lambda: mesh.has(order, "Released"))
    assert mesh.end(order).exit_code == 6
    await eventually(lambda: mesh.text(order, "stdout") == b"%d\ndone\n" % pid)
    await eventually(lambda: _reaper_of(agent) not in (None, older))
    assert not alive(older)

    following = a_shell_order("echo next", devices=("SIM-n1-0",))
    await mesh.order(following)
    await eventually(lambda: mesh.has(following, "Released"))
    assert mesh.end(following).exit_code == 0
    newest = agent.reaper_pid
    beats = len(mesh.beats)
    await eventually(lambda: len(mesh.beats) > beats + 5)
    assert agent.reaper_pid == newest, "one of the same version stays"


async def test_orders_that_come_while_the_reaper_is_renewed_are_run_once(
    mesh: Mesh, agent_factory: Any, newer: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent: AgentProcess = agent_factory()
    await eventually(mesh.reachable)
    older = agent.reaper_pid
    agent.kill()
    monkeypatch.setenv("PYTHONPATH", f"{newer}:{os.environ.get('PYTHONPATH', '')}")
    agent.start()
    await eventually(mesh.reachable)
    orders = []
    while _reaper_of(agent) in (None, older) or len(orders) < 30:
        order = a_shell_order("exit 3", devices=("SIM-n1-1",))
        orders.append(order)
        await mesh.order(order)
        await eventually(lambda order=order: mesh.has(order, "Released"))
    for order in orders:
        assert mesh.kinds(order) == ["Preparing", "Started", "Exited", "Released"]
        assert (mesh.end(order).reason, mesh.end(order).exit_code) == ("exited", 3)


def _reaper_of(agent: AgentProcess) -> int | None:
    try:
        return agent.reaper_pid
    except (FileNotFoundError, IndexError):
        return None
