"""Does a node say what it can do for a job, and do it?"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from agent.builders import a_shell_order
from agent.scripted import Mesh

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root offers users")
EAT = "python3 -c 'a = bytearray(1 << 20) * 300'"


async def offers(mesh: Mesh, eventually: Any) -> tuple[str, ...]:
    """What the node offers once its reaper has told."""
    await eventually(mesh.reachable)

    def told() -> bool:
        mesh.hear()
        return bool(mesh.descriptions) and "cgroups" in mesh.descriptions[-1].facts

    await eventually(told)
    return mesh.descriptions[-1].offers


@AS_ROOT
async def test_a_job_runs_as_its_user_with_its_limits_and_its_own_tmp(
    mesh: Mesh, agent_factory: Any, eventually: Any, tmp_path: Path
) -> None:
    for directory in (tmp_path, *tmp_path.parents[:3]):
        directory.chmod(stat.S_IMODE(directory.stat().st_mode) | 0o011)
    agent_factory()
    wanted = {"users", "private_tmp"} & set(await offers(mesh, eventually))
    assert wanted == {"users", "private_tmp"}
    order = a_shell_order(
        "id -un; echo $HOME; ulimit -n; ls -A /tmp | grep -v pytest-of;"
        " echo x >file; cat $PWD/file",
        user="nobody",
        rlimits={"nofile": 99},
        private_tmp=True,
    )
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Released"))
    assert (mesh.end(order).reason, mesh.end(order).exit_code) == ("exited", 0)
    await eventually(lambda: mesh.text(order, "stdout") == b"nobody\n/nonexistent\n99\nx\n")


async def test_a_job_that_outgrows_its_memory_is_told_apart_and_its_node_goes_on(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent_factory()
    if "memory_limit" not in await offers(mesh, eventually):
        pytest.skip("this host offers no limit of memory")
    order = a_shell_order(f"exec {EAT}", memory_limit_mib=64, devices=("SIM-n1-1",))
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Released"))
    end = mesh.end(order)
    assert (end.reason, end.exit_code, end.signal) == ("out_of_memory", None, 9)
    enough = a_shell_order(EAT, memory_limit_mib=512, devices=("SIM-n1-1",))
    await mesh.order(enough)
    await eventually(lambda: mesh.has(enough, "Released"))
    assert mesh.end(enough).exit_code == 0


@AS_ROOT
async def test_a_job_whose_user_is_not_there_says_so(
    mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent_factory()
    await offers(mesh, eventually)
    order = a_shell_order("true", user="no-such-user")
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Released"))
    assert mesh.end(order).reason == "spawn_failed"
    assert "no-such-user" in mesh.end(order).message
