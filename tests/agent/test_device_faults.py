"""What happens on a host when one of its devices fails, in each way in which one may?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.builders import a_shell_order, an_order
from agent.living import LONG_S, Living
from agent.scripted import Mesh
from penstock_contracts.leases import LeaseOrder
from penstock_contracts.nodes import Device
from penstock_node_agent.devices import checks as device_checks
from penstock_node_agent.devices import idle_tests
from penstock_node_agent.devices.trust import TrustConfig, trust
from penstock_node_agent.drivers.port import MemoryUse
from penstock_node_agent.workplace import workbench

BAD, GOOD, OTHER = "SIM-n1-1", "SIM-n1-2", "SIM-n1-3"
HELD = MemoryUse(used_mib=40_000, pids=(4711,))

Strike = Callable[[Living], object]
FAULTS: dict[str, Strike] = {
    "xid_79": lambda living: living.driver.err(BAD, 79),
    "xid_48": lambda living: living.driver.err(BAD, 48),
    "xid_94": lambda living: living.driver.err(BAD, 94),
    "ecc_uncorrectable": lambda living: living.driver.errors.update({BAD: 1}),
    "off_bus": lambda living: living.driver.gone.add(BAD),
    "nvml_error": lambda living: living.driver.failing.add(BAD),
}


def until_told() -> LeaseOrder:
    return a_shell_order("while ! [ -e go ]; do sleep 0.02; done", devices=(GOOD,))


def tell(living: Living) -> None:
    for slot in (living.directory / "work").glob("*"):
        (slot / "go").touch()


def said(mesh: Mesh, uuid: str) -> Device:
    """What the node said of the device last."""
    return next(device for device in mesh.devices_told()[-1] if device.uuid == uuid)


@pytest.mark.lesson(5, 6)
@pytest.mark.parametrize("code", FAULTS)
async def test_only_the_device_that_fails_is_quarantined_and_only_its_work_ends(
    mesh: Mesh, living: Living, eventually: Any, code: str
) -> None:
    living.driver.can_check = True
    living.start(sample_s=0.1)
    await eventually(mesh.reachable)
    struck, well = an_order(command=("sleep", "600"), devices=(BAD,)), until_told()
    await mesh.order(struck, well)
    await eventually(lambda: mesh.has(struck, "Started") and mesh.has(well, "Started"))
    FAULTS[code](living)
    await eventually(lambda: mesh.has(struck, "Released"))
    end = mesh.end(struck)
    assert (end.reason, end.exit_code) == ("device_failed", None)
    assert end.message.startswith(f"device {BAD} is unhealthy: ")
    assert (said(mesh, BAD).health_code, said(mesh, BAD).healthy) == (code, False)
    assert [d.uuid for d in mesh.descriptions[-1].devices if d.healthy] == ["SIM-n1-0", GOOD, OTHER]
    refused, neighbour = an_order(devices=(BAD,)), an_order(devices=(OTHER,))
    await mesh.order(refused, neighbour)
    await eventually(lambda: mesh.has(refused, "Declined") and mesh.has(neighbour, "Released"))
    assert mesh.end(neighbour).exit_code == 0
    assert not mesh.has(well, "Exited"), "the rest of the host works on"
    tell(living)
    await eventually(lambda: mesh.has(well, "Released"))
    assert mesh.end(well).exit_code == 0


@pytest.mark.lesson(5, 8)
async def test_work_that_fails_by_itself_before_its_device_is_found_out_is_not_blamed(
    mesh: Mesh, living: Living, eventually: Any
) -> None:
    living.start(sample_s=LONG_S)
    await eventually(mesh.reachable)
    order = a_shell_order("trap '' TERM; while ! [ -e go ]; do sleep 0.02; done; exit 1",
                          devices=(BAD,), grace_s=60)  # fmt: skip
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Started"))
    living.driver.err(BAD, 79)
    await eventually(lambda: not said(mesh, BAD).healthy)
    tell(living)
    await eventually(lambda: mesh.has(order, "Exited"))
    assert mesh.end(order).reason == "device_failed"


@pytest.mark.lesson(8, 12)
@pytest.mark.parametrize("code", [13, 31, 43, 45, 12_345])
async def test_an_error_of_the_application_condemns_no_device_and_is_told_to_who_fails_by_it(
    mesh: Mesh, living: Living, eventually: Any, code: int
) -> None:
    living.start(sample_s=0.1)
    await eventually(mesh.reachable)
    order = a_shell_order("while ! [ -e go ]; do sleep 0.02; done; exit 3", devices=(BAD,))
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Started"))
    living.driver.err(BAD, code)
    looks = living.driver.looks
    await eventually(lambda: living.driver.looks >= looks + 3)
    tell(living)
    await eventually(lambda: mesh.has(order, "Released"))
    end = mesh.end(order)
    assert (end.reason, end.exit_code) == ("exited", 3)
    assert end.message.startswith(f"device {BAD}: XID {code}")
    assert len(mesh.devices_told()) == 1


async def test_what_only_a_reset_mends_stays_condemned_until_an_operator_vouches_for_it(
    mesh: Mesh, living: Living, eventually: Any
) -> None:
    living.driver.can_check = True
    living.start(sample_s=0.1)
    await eventually(mesh.reachable)
    living.driver.err(BAD, 79)
    await eventually(lambda: not said(mesh, BAD).healthy)
    await living.stop_agent()
    told = len(mesh.descriptions)
    living.start(sample_s=0.1)
    await eventually(lambda: mesh.hear() or len(mesh.descriptions) > told)
    assert all(d.devices[1].health_code == "xid_79" for d in mesh.descriptions[told:])
    trust(TrustConfig(node="n1", state_dir=living.directory, devices=(BAD,)))
    await eventually(lambda: said(mesh, BAD).healthy)
    living.driver.err(BAD, 48)
    await eventually(lambda: said(mesh, BAD).health_code == "xid_48")


@pytest.mark.lesson(9)
async def test_a_device_is_released_only_when_its_memory_has_come_back(
    mesh: Mesh, living: Living, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_checks, "AFTER_S", 0.2)
    monkeypatch.setattr(workbench, "HELD_AGAIN_S", 0.2)
    monkeypatch.setattr(idle_tests, "HELD_AGAIN_S", 0.2)
    living.driver.can_check = True
    living.start(sample_s=0.1)
    await eventually(mesh.reachable)
    order = a_shell_order("while ! [ -e go ]; do sleep 0.02; done", devices=(BAD,))
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Started"))
    living.driver.used[BAD] = HELD
    tell(living)
    await eventually(lambda: mesh.has(order, "Exited") and not said(mesh, BAD).healthy)
    held = said(mesh, BAD)
    assert (held.health_code, mesh.end(order).exit_code) == ("memory_held", 0)
    assert held.health_reason == (
        "40000 MiB of its memory are in use by process 4711, not started by this node"
    )
    neighbour = an_order(devices=(OTHER,))
    await mesh.order(neighbour)
    await eventually(lambda: mesh.has(neighbour, "Released"))
    assert not mesh.has(order, "Released")
    del living.driver.used[BAD]
    await eventually(lambda: mesh.has(order, "Released") and said(mesh, BAD).healthy)
    again = an_order(devices=(BAD,))
    await mesh.order(again)
    await eventually(lambda: mesh.has(again, "Released"))
    assert mesh.end(again).exit_code == 0


@pytest.mark.lesson(9)
async def test_nothing_begins_on_a_device_that_somebody_else_uses(
    mesh: Mesh, living: Living, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_checks, "BEFORE_S", 0.2)
    monkeypatch.setattr(idle_tests, "HELD_AGAIN_S", 0.2)
    living.driver.can_check = True
    living.driver.used[BAD] = HELD
    living.start(sample_s=0.1)
    await eventually(mesh.reachable)
    order = an_order(devices=(BAD,))
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Declined"))
    declined = mesh.story(order)[-1]
    assert BAD in declined.message and "4711" in declined.message
    assert said(mesh, BAD).health_code == "memory_held"
    assert not mesh.has(order, "Started")
    living.driver.used[BAD] = MemoryUse(used_mib=300, pids=(4711,))
    await eventually(lambda: said(mesh, BAD).healthy)


@pytest.mark.lesson(5)
async def test_a_device_that_does_not_answer_just_before_a_start_is_not_started_on(
    mesh: Mesh, living: Living, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_checks, "BEFORE_S", 0.2)
    living.driver.can_check = True
    living.start(sample_s=LONG_S)
    await eventually(mesh.reachable)
    living.driver.gone.add(BAD)
    order, neighbour = an_order(devices=(BAD,)), an_order(devices=(OTHER,))
    await mesh.order(order, neighbour)
    await eventually(lambda: mesh.has(order, "Declined") and mesh.has(neighbour, "Released"))
    assert not mesh.has(order, "Started") and mesh.end(neighbour).exit_code == 0
    await eventually(lambda: said(mesh, BAD).health_code == "off_bus")


async def test_an_idle_device_that_fails_the_operators_test_is_held_back_until_it_passes(
    mesh: Mesh, living: Living, eventually: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(idle_tests, "HELD_AGAIN_S", 0.05)
    test = tmp_path / "test"
    test.write_text(f'#!/bin/sh\necho "link down"\n[ ! -e {tmp_path}/$PENSTOCK_DEVICE ]\n')
    test.chmod(0o755)
    (tmp_path / BAD).touch()
    living.start(sample_s=LONG_S, sanity_s=0.1, sanity_command=str(test))
    await eventually(mesh.reachable)
    await eventually(lambda: mesh.devices_told() and not said(mesh, BAD).healthy)
    assert said(mesh, BAD).health_code == "sanity"
    assert said(mesh, BAD).health_reason == f"{test} ended with 1: link down"
    order = an_order(devices=(GOOD,))
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Released"))
    (tmp_path / BAD).unlink()
    await eventually(lambda: said(mesh, BAD).healthy)


async def test_a_lease_ends_the_operators_test_of_its_device_and_begins_at_once(
    mesh: Mesh, living: Living, eventually: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(idle_tests, "HELD_AGAIN_S", 0.05)
    test = tmp_path / "test"
    test.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/$PENSTOCK_DEVICE\nexec sleep 600\n")
    test.chmod(0o755)
    living.start(sample_s=LONG_S, sanity_s=0.1, sanity_command=str(test))
    pid = tmp_path / "SIM-n1-0"
    await eventually(lambda: pid.exists() and pid.read_text())
    order = a_shell_order(f"! kill -0 {pid.read_text().strip()}", devices=("SIM-n1-0",))
    await eventually(mesh.reachable)
    await mesh.order(order)
    await eventually(lambda: mesh.has(order, "Released"))
    assert mesh.end(order).exit_code == 0, "nothing of the test was left when it began"
    assert len(mesh.devices_told()) == 1, "and a test that was ended says nothing"
