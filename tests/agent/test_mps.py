"""Are jobs held to their parts of a device where NVIDIA's daemon runs, and offered nowhere else?"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.builders import SECOND_NS, a_node, a_shell_order, an_order, ordered
from agent.living import LONG_S, Living
from agent.scripted import Mesh
from penstock_contracts.leases import Declined
from penstock_contracts.work import FRACTIONS
from penstock_node_agent.core.machine import handle
from penstock_node_agent.devices import mps
from penstock_node_agent.devices.mps import PROGRAM, Mps
from penstock_node_agent.programs import run

GPU = "SIM-n1-0"

CONTROL = """#!{python}
# As nvidia-cuda-mps-control: -d begins a daemon, words on stdin ask it.
import os, signal, sys
pipes = os.environ["CUDA_MPS_PIPE_DIRECTORY"]
file = pipes + "/nvidia-cuda-mps-control.pid"
def daemon():
    try:
        os.kill(int(open(file).read()), 0)
    except (OSError, ValueError):
        return None
    return int(open(file).read())
if sys.argv[1:] == ["-d"]:
    if os.path.exists(os.path.dirname(sys.argv[0]) + "/broken"):
        sys.exit("no CUDA devices")
    if os.fork() == 0:
        os.setsid()
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        open(file, "w").write(str(os.getpid()))
        signal.pause()
    while daemon() is None:
        pass
elif daemon() is None:
    sys.exit("Cannot find MPS control daemon process")
elif sys.stdin.read() == "quit\\n":
    os.kill(daemon(), signal.SIGKILL)
"""


class Control:
    """The program, in a directory of its own, and the daemon that it has begun."""

    def __init__(self, directory: Path) -> None:
        self.bin, self.pipes = directory / "bin", directory / "pipes"
        self.bin.mkdir()
        self.broken = self.bin / "broken"
        program = self.bin / PROGRAM
        program.write_text(CONTROL.format(python=sys.executable))
        program.chmod(0o755)
        self.environment = {"PATH": f"{self.bin}:{os.environ['PATH']}"}

    def mps(self) -> Mps:
        return Mps(run, self.environment, str(self.pipes))

    @property
    def pid(self) -> int | None:
        """Of the daemon, while it runs."""
        try:
            pid = int((self.pipes / f"{PROGRAM}.pid").read_text())
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ValueError, ProcessLookupError):
            return None
        return None if ") Z " in stat else pid

    def kill(self) -> None:
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    control = Control(tmp_path)
    yield control
    control.kill()


async def test_the_daemon_outlives_the_agent_is_taken_over_and_ends_when_asked(
    control: Control, eventually: Any
) -> None:
    first, second = control.mps(), control.mps()
    await first.open()
    pid = control.pid
    assert (first.offers, first.facts) == ((FRACTIONS,), {"mps": "runs"}) and pid is not None
    await second.open()
    assert second.offers == (FRACTIONS,) and control.pid == pid
    await second.end()
    await eventually(lambda: control.pid is None)
    assert second.offers == ()


async def test_a_host_without_the_program_or_whose_daemon_does_not_begin_offers_nothing(
    control: Control, tmp_path: Path
) -> None:
    bare = Mps(run, {"PATH": str(tmp_path)}, str(tmp_path / "pipes"))
    await bare.open()
    assert (bare.offers, bare.facts) == ((), {"mps": f"none: {PROGRAM} is not there"})
    control.broken.touch()
    broken = control.mps()
    await broken.open()
    assert (broken.offers, broken.facts) == ((), {"mps": "none: no CUDA devices"})


async def test_a_job_with_a_part_is_limited_to_it_and_one_with_a_whole_device_to_nothing(
    control: Control,
) -> None:
    service = control.mps()
    part = an_order(devices=(GPU,), gpu_milli=255)
    asks = an_order(devices=(GPU,), gpu_milli=250, gpu_memory_mib=4_000)
    assert service.environment(part, lambda uuid: 80_000) == {}, "nobody would hold it"
    await service.open()
    limited = service.environment(part, lambda uuid: 80_000)
    assert limited["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "25"
    assert limited["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=20400M"
    assert limited["CUDA_MPS_PIPE_DIRECTORY"] == str(control.pipes)
    limited = service.environment(asks, lambda uuid: 80_000)
    assert limited["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=4000M"
    unknown = service.environment(part, lambda uuid: None)
    assert "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT" not in unknown
    assert service.environment(an_order(devices=(GPU,)), lambda uuid: 80_000) == {}
    assert service.environment(an_order(), lambda uuid: 80_000) == {}


@pytest.mark.lesson(17)
async def test_a_node_says_when_its_daemon_ends_and_when_it_runs_again(
    mesh: Mesh,
    living: Living,
    control: Control,
    eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mps, "CHECK_S", 0.1)
    monkeypatch.setattr("penstock_node_agent.devices.care.PIPES", str(control.pipes))
    monkeypatch.setenv("PATH", control.environment["PATH"])
    living.start(sample_s=LONG_S, mps="on", stop_work_on_exit=True)
    await eventually(mesh.reachable)
    (pid_file,) = control.pipes.glob(f"*/{PROGRAM}.pid")
    control.pipes = pid_file.parent
    order = a_shell_order(
        "echo $CUDA_MPS_ACTIVE_THREAD_PERCENTAGE $CUDA_MPS_PINNED_DEVICE_MEM_LIMIT",
        devices=(GPU,), gpu_milli=500, gpu_enforced=True,
    )  # fmt: skip
    await mesh.order(order)
    await eventually(lambda: mesh.text(order, "stdout") == b"50 0=40960M\n")
    control.broken.touch()
    control.kill()
    await eventually(lambda: mesh.hear() or FRACTIONS not in mesh.descriptions[-1].offers)
    assert mesh.descriptions[-1].facts["mps"] == "none: no CUDA devices"
    late = an_order(devices=(GPU,), gpu_milli=500, gpu_enforced=True)
    await mesh.order(late)
    await eventually(lambda: mesh.has(late, "Declined"))
    control.broken.unlink()
    await eventually(lambda: mesh.hear() or FRACTIONS in mesh.descriptions[-1].offers)
    await living.stop_agent()
    assert control.pid is None, "it ends with the node's work"


@pytest.mark.lesson(17)
def test_who_must_be_held_to_a_part_is_declined_where_nobody_holds_anybody() -> None:
    state = a_node()
    whole = an_order(devices=("D0",), gpu_enforced=True)
    part = an_order(devices=("D1",), gpu_milli=500, gpu_enforced=True)
    shared = an_order(devices=("D2",), gpu_milli=500)
    handle(state, ordered(whole, part, shared))
    declined = [item for item in state.reports if isinstance(item, Declined)]
    assert [(item.job_id, item.code) for item in declined] == [(part.job_id, "no_fractions")]
    assert declined[0].at_ms >= 10 * SECOND_NS // 1_000_000
