"""Does a node whose disk is full say so, take nothing new, lose nothing, and recover by itself?"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.builders import a_node, a_shell_order, an_order, ordered, started
from agent.scripted import AgentProcess, Mesh
from penstock_contracts.leases import Declined, Described
from penstock_contracts.nodes import NO_NEW_WORK
from penstock_node_agent.core import events
from penstock_node_agent.core.machine import handle
from penstock_node_agent.disk_watch import DiskWatch
from penstock_node_agent.reaper.disk import Disk
from penstock_runtime.clock import SystemClock

MIB = 1 << 20
DISK_MIB = 32
FULL = events.Closed(at_ns=5, code="disk_full", reason="the disk is full")


def test_a_closed_node_says_why_and_declines_what_is_new_but_not_what_it_holds() -> None:
    state = a_node()
    held, late = an_order(devices=("D0",), phase="prepare", ranks=2, rank=1), an_order()
    handle(state, ordered(held))
    handle(state, FULL)
    (described,) = [item for item in state.reports[1:] if isinstance(item, Described)]
    assert described.description.facts == {NO_NEW_WORK: "the disk is full"}
    handle(state, ordered(held, late, as_of=10**6))
    (declined,) = [item for item in state.reports if isinstance(item, Declined)]
    assert (declined.lease_seq, declined.code) == (late.lease_seq, "disk_full")
    handle(state, events.Closed(at_ns=6, code="draining", reason="it is about to stop"))
    handle(state, events.Closed(at_ns=7, code="disk_full"))
    assert state.described is not None
    assert state.described.facts == {NO_NEW_WORK: "it is about to stop"}
    handle(state, started())
    assert state.described.facts == {}, "an agent that begins anew looks for itself"


class Room(Disk):
    def __init__(self) -> None:
        self.free = 100 * MIB

    def free_bytes(self, path: str) -> int:
        return self.free


def test_a_node_is_closed_before_its_disk_is_full_and_opens_with_twice_the_room() -> None:
    disk, told = Room(), []
    watch = DiskWatch(disk, "/", SystemClock(), told.append, 50 * MIB)
    closed = []
    for free in (100, 50, 49, 30, 60, 99, 100, 60, 49):
        disk.free = free * MIB
        watch.look()
        closed.append(bool(told and told[-1].reason))
    assert closed == [False, False, True, True, True, True, False, False, True]
    assert [event.code for event in told] == ["disk_full"] * 3
    assert told[0].reason == "the disk is full: 49 MiB are left, new work needs 50"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own for the node's state."""
    place = tmp_path / "state"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_full_disk_closes_the_node_corrupts_nothing_and_is_recovered_from(
    small_disk: Path, mesh: Mesh, agent_factory: Any, eventually: Any
) -> None:
    agent: AgentProcess = agent_factory("--disk-free-mib", "8")
    await eventually(mesh.reachable)
    running = a_shell_order(
        "echo before; while ! [ -e go ]; do sleep 0.02; done; echo after; exit 4",
        devices=("SIM-n1-0",),
    )
    await mesh.order(running)
    await eventually(lambda: mesh.text(running, "stdout") == b"before\n")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes((DISK_MIB - 6) * MIB))
    await eventually(lambda: NO_NEW_WORK in _facts(mesh))
    assert "the disk is full" in _facts(mesh)[NO_NEW_WORK]
    refused = an_order(devices=("SIM-n1-1",))
    await mesh.order(refused)
    await eventually(lambda: mesh.has(refused, "Declined"))

    _fill(ballast)
    (small_disk / "work" / "0" / "go").touch()
    await eventually(lambda: agent.process_ended or mesh.has(running, "Exited"), 20.0)
    ballast.unlink()
    if agent.process_ended:
        agent.start()
    await eventually(lambda: mesh.has(running, "Released"), 30.0)
    assert mesh.end(running).exit_code == 4
    assert mesh.kinds(running) == ["Preparing", "Started", "Exited", "Released"]
    await eventually(lambda: mesh.size(running, "stdout") == mesh.end(running).log_bytes["stdout"])
    await eventually(lambda: NO_NEW_WORK not in _facts(mesh), 20.0)
    taken = an_order(devices=("SIM-n1-1",))
    await mesh.order(taken)
    await eventually(lambda: mesh.has(taken, "Released"), 20.0)


def _facts(mesh: Mesh) -> dict[str, str]:
    mesh.hear()
    return mesh.descriptions[-1].facts


def _fill(path: Path) -> None:
    """To the last byte."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    for size in (MIB, 4096, 1):
        with suppress(OSError):
            while os.write(file, bytes(size)):
                pass
    os.close(file)
