"""Is a device given to nobody while anything of its last job is left on the host?"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.accounts import assert_two_accounts_agree
from agent.builders import a_shell_order, an_order
from agent.reaper_client import alive, pid_in
from agent.scripted import AgentProcess, Mesh
from agent.test_nothing_left import HIDE
from penstock_contracts.leases import STOP
from penstock_node_agent.reaper.cgroups import slot_of
from penstock_node_agent.reaper_package import identity

FREEZER = Path("/sys/fs/cgroup/freezer")
"""In its first version what is frozen does not even die of SIGKILL, as in a driver that hangs."""
DEVICE = "SIM-n1-2"


@pytest.fixture
def freezer() -> Iterator[Path]:
    group = FREEZER / f"penstock-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("this host has no freezer that withstands SIGKILL")
    yield group
    (group / "freezer.state").write_text("THAWED", "ascii")
    with suppress(OSError):
        group.rmdir()


@pytest.mark.lesson(2, 9)
async def test_a_device_is_withheld_as_long_as_something_of_its_job_does_not_die(
    mesh: Mesh, agent_factory: Any, eventually: Any, freezer: Path
) -> None:
    agent: AgentProcess = agent_factory()
    await eventually(mesh.reachable)
    file = agent.directory / "work" / "0" / "pid"
    order = a_shell_order(
        f"setsid sh -c 'echo $$ >{file}; exec sleep 60' & sleep 60", devices=(DEVICE,)
    )
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Started"))
    stubborn = pid_in(file)
    (freezer / "cgroup.procs").write_text(str(stubborn), "ascii")
    (freezer / "freezer.state").write_text("FROZEN", "ascii")
    following = an_order(command=("true",), devices=(DEVICE,))
    await mesh.order(msgspec.structs.replace(order, phase=STOP), following)
    await eventually(lambda: mesh.has(order, "Exited"), 30.0)
    assert alive(stubborn)
    await eventually(mesh.audit)
    assert not mesh.has(order, "Released") and not mesh.has(following, "Started")
    (freezer / "freezer.state").write_text("THAWED", "ascii")
    await eventually(lambda: mesh.has(following, "Released"), 30.0)
    assert not alive(stubborn)
    kinds = [type(item).__name__ for item in mesh.items if item.lease_seq == order.lease_seq]
    assert kinds == ["Preparing", "Started", "Exited", "Released"]
    first = next(i for i, item in enumerate(mesh.items) if item is mesh.story(order)[-1])
    begun = next(i for i, item in enumerate(mesh.items) if item is mesh.story(following)[1])
    assert first < begun, "not before the other was released"
    assert_two_accounts_agree(mesh)


@pytest.mark.lesson(1, 9)
async def test_a_killed_reaper_means_lost_and_devices_come_back_when_nothing_is_left(
    mesh: Mesh, agent_factory: Any, eventually: Any, tmp_path: Path
) -> None:
    agent: AgentProcess = agent_factory()
    await eventually(mesh.reachable)
    program, files = tmp_path / "hide.py", [tmp_path / f"{index}.pid" for index in range(2)]
    program.write_text(HIDE, "ascii")
    hiding = [
        a_shell_order(f"exec python3 {program} {file}", devices=(f"SIM-n1-{index}",))
        for index, file in enumerate(files)
    ]
    ended = a_shell_order("exit 7", devices=("SIM-n1-3",))
    await mesh.order(*hiding, ended)
    await eventually(lambda: mesh.has(ended, "Released"))
    hidden = [pid_in(file) for file in files]
    grouped = slot_of(hidden[0], identity(agent.directory)) is not None
    os.kill(agent.reaper_pid, signal.SIGKILL)
    await eventually(lambda: all(mesh.has(order, "Released") for order in hiding), 30.0)
    for order in hiding:
        end = mesh.end(order)
        assert (end.reason, end.exit_code, end.signal) == ("lost", None, None)
    assert mesh.end(ended).exit_code == 7, "what was known stays known"
    if grouped:
        assert not any(map(alive, hidden)), "released is said only when nothing is left"
    else:
        for pid in hidden:
            os.kill(pid, signal.SIGKILL)
    following = [an_order(command=("true",), devices=order.devices) for order in hiding]
    await mesh.order(*following)
    await eventually(lambda: all(mesh.has(order, "Released") for order in following))
    await eventually(mesh.audit)
    assert_two_accounts_agree(mesh)
