"""Does a simulated host treat the reaper as a real one does?

The same reaper code over real processes and over simulated ones; each test runs on both.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.reaper_rig import RealRig, SimulatedRig
from tests.simulation.workload import Script

SECOND_NS = 1_000_000_000
LONG = Script(run_s=30)


@pytest.fixture(params=["real", "simulated"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    rig = RealRig(tmp_path) if request.param == "real" else SimulatedRig()
    yield rig
    rig.close()


@pytest.fixture
def simulated() -> Iterator[SimulatedRig]:
    rig = SimulatedRig()
    yield rig
    rig.close()


def end_of(rig: Any, key: str) -> dict[str, Any]:
    names = ("at_ns", "code", "signal", "reason", "message", "out", "err", "gone_ns")
    return dict(zip(names, rig.wait_for("ended", key)[2:], strict=True))


async def test_exit_codes_signals_and_output_are_told_as_they_were(rig: Any) -> None:
    await rig.start()
    rig.spawn("code", Script(run_s=0.05, exit_code=7, out_bytes=5_000))
    rig.spawn("signal", Script(run_s=0.05, signal=signal.SIGSEGV))
    end = end_of(rig, "code")
    assert (end["code"], end["signal"], end["reason"], end["out"]) == (7, None, "exited", 5_000)
    began_ns = rig.wait_for("began", "code")[2]
    assert end["gone_ns"] >= end["at_ns"] >= began_ns + SECOND_NS // 20
    end = end_of(rig, "signal")
    assert (end["code"], end["signal"], end["reason"]) == (None, signal.SIGSEGV, "signalled")


async def test_a_program_that_cannot_be_started_says_why(rig: Any) -> None:
    await rig.start()
    rig.spawn("no-such", Script(fails_to_start=True))
    rig.spawn("no-cwd", LONG, cwd="/nowhere")
    for key, why in (("no-such", "no-such-program"), ("no-cwd", "/nowhere")):
        end = end_of(rig, key)
        assert end["reason"] == "spawn_failed" and why in end["message"]
        assert (end["code"], end["signal"]) == (None, None)
    assert rig.ran("no-cwd") == 0


async def test_a_stop_asks_first_and_kills_whoever_takes_no_notice(rig: Any) -> None:
    await rig.start()
    rig.spawn("polite", LONG)
    rig.spawn("stubborn", Script(run_s=30, stubborn=True))
    for key in ("polite", "stubborn"):
        rig.wait_until_running(key)
        rig.send(op="stop", key=key, reason="cancelled", grace_s=0.2)
    assert (end_of(rig, "polite")["signal"], end_of(rig, "polite")["reason"]) == (
        signal.SIGTERM,
        "cancelled",
    )
    assert end_of(rig, "stubborn")["signal"] == signal.SIGKILL


async def test_time_limit_and_lease_end_the_work(rig: Any) -> None:
    await rig.start()
    rig.spawn("limited", LONG, limit_s=0.2)
    rig.spawn("leased", LONG, disconnect_s=1, grace_s=0.2)
    assert end_of(rig, "limited")["reason"] == "time_limit"
    assert end_of(rig, "leased")["reason"] == "disconnected"


async def test_what_is_past_its_lease_already_is_not_started(rig: Any) -> None:
    await rig.start()
    old_ns = rig.now_ns() - 10 * SECOND_NS
    rig.spawn("late", LONG, disconnect_s=8, contact_ns=old_ns)
    assert (end_of(rig, "late")["reason"], end_of(rig, "late")["signal"]) == ("disconnected", None)
    assert rig.ran("late") == 0
    rig.send(op="renew", at_ns=rig.now_ns())
    rig.spawn("given-up", LONG, disconnect_s=8, contact_ns=old_ns)
    rig.send(op="renew", at_ns=rig.now_ns())
    assert end_of(rig, "given-up")["reason"] == "disconnected", "contact was lost in between"
    assert rig.ran("given-up") == 0
    rig.spawn("in-time", Script(run_s=0.05), disconnect_s=8)
    assert end_of(rig, "in-time")["code"] == 0


async def test_a_known_key_is_not_started_again_even_by_another_reaper(rig: Any) -> None:
    await rig.start()
    rig.spawn("once", Script(run_s=0.05))
    end = end_of(rig, "once")
    rig.spawn("once", Script(run_s=0.05))
    rig.connect()
    assert end_of(rig, "once") == end
    rig.kill_reaper()
    await rig.start()
    rig.spawn("once", Script(run_s=0.05))
    rig.spawn("next", Script(run_s=0.05))
    end_of(rig, "next")
    assert end_of(rig, "once") == end
    assert rig.ran("once") == 1


async def test_what_a_dead_reaper_left_is_killed_and_lost(rig: Any) -> None:
    await rig.start()
    rig.spawn("orphan", Script(run_s=30, stubborn=True))
    rig.wait_until_running("orphan")
    rig.kill_reaper()
    await rig.start()
    end = end_of(rig, "orphan")
    assert (end["reason"], end["code"], end["signal"]) == ("lost", None, None)
    assert end["gone_ns"] is not None


async def test_what_was_forgotten_is_not_told_again(rig: Any) -> None:
    await rig.start()
    rig.spawn("old", Script(run_s=0.05))
    end_of(rig, "old")
    rig.send(op="forget", keys=["old"])
    rig.spawn("new", Script(run_s=0.05))
    end_of(rig, "new")
    rig.connect()
    assert rig.wait_for("ready")[3] == ["new"]


async def test_a_reaper_that_is_told_to_end_stops_all_work_first(rig: Any) -> None:
    await rig.start()
    rig.spawn("polite", LONG)
    rig.wait_until_running("polite")
    rig.terminate_reaper()
    await rig.start()
    assert end_of(rig, "polite")["reason"] == "stopped"


# -- time passes, which only the simulated host does on request --------------------------------


async def test_contact_that_comes_back_too_late_saves_nothing(simulated: SimulatedRig) -> None:
    rig = simulated
    await rig.start()
    rig.spawn("given-up", Script(run_s=60), disconnect_s=30, grace_s=10)
    rig.spawn("in-time", Script(run_s=60), disconnect_s=90, grace_s=10)
    rig.wait_until_running("in-time")
    rig.host.freeze_reaper()
    rig.pass_time(40)
    rig.send(op="renew", at_ns=rig.now_ns())
    rig.host.thaw_reaper()
    assert end_of(rig, "given-up")["reason"] == "disconnected"
    assert end_of(rig, "in-time")["code"] == 0


async def test_an_order_in_line_holds_while_contact_does(simulated: SimulatedRig) -> None:
    rig = simulated
    await rig.start()
    rig.host.disk.full = True
    rig.spawn("held", Script(run_s=1), disconnect_s=30)
    for _ in range(5):
        rig.pass_time(20)
        rig.send(op="renew", at_ns=rig.now_ns())
    rig.spawn("given-up", Script(run_s=1), disconnect_s=20)
    rig.pass_time(21)
    rig.send(op="renew", at_ns=rig.now_ns())
    rig.host.disk.full = False
    assert end_of(rig, "held")["code"] == 0
    assert end_of(rig, "given-up")["reason"] == "disconnected"
    assert rig.ran("given-up") == 0


# -- a full disk, which only the simulated host has on request ---------------------------------


async def test_nothing_starts_that_the_log_of_a_full_disk_cannot_name(
    simulated: SimulatedRig,
) -> None:
    rig = simulated
    await rig.start()
    rig.host.disk.full = True
    rig.spawn("waits", Script(run_s=1))
    rig.spawn("cancelled", Script(run_s=1))
    rig.pass_time(300)
    assert not rig.history.runs
    rig.send(op="stop", key="cancelled", reason="cancelled", grace_s=1)
    rig.kill_reaper()
    rig.host.disk.full = False
    await rig.start()
    assert rig.wait_for("ready")[3] == [], "nothing of it has begun"
    rig.host.disk.full = True
    for key in ("waits", "cancelled"):
        rig.spawn(key, Script(run_s=1))
    rig.pass_time(10)
    rig.send(op="stop", key="cancelled", reason="cancelled", grace_s=1)
    rig.pass_time(10)
    rig.host.disk.full = False
    assert end_of(rig, "waits")["code"] == 0
    assert end_of(rig, "cancelled")["reason"] == "cancelled"
    assert (rig.ran("waits"), rig.ran("cancelled")) == (1, 0)


async def test_an_end_that_a_full_disk_cannot_keep_is_told_when_it_can(
    simulated: SimulatedRig,
) -> None:
    rig = simulated
    await rig.start()
    rig.spawn("job", Script(run_s=5, exit_code=3))
    rig.wait_until_running("job")
    rig.host.disk.full = True
    rig.pass_time(20)
    assert rig.history.runs[0].ended_ns is not None
    assert not rig.history.runs[0].waited
    rig.host.disk.full = False
    assert end_of(rig, "job")["code"] == 3
