"""What runs on a simulated host, and what really happened to it?

Programs that run for a while, write, and end by themselves or are killed; each run is recorded as
it was, whatever anybody tells about it. It does not know the agent or the reaper.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from penstock_contracts.nodes import Device
from tests.checkers.history import History, Run
from tests.simulation.clocks import HostClock
from tests.simulation.disk import SimulatedDisk
from tests.simulation.host_memory import DeviceMemory
from tests.simulation.kernel import Kernel
from tests.simulation.workload import Script

FIRST_PID = 300
HEAD_BYTES_MAX = 64
"""What a program writes at its start; half of the rest comes in between, the rest at its end."""
CRASH_S = (1.0, 5.0)
CRASH_CODE = 1
CRASH_SHARE = 0.45
"""What most programs end with some moments after their device has failed."""
ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""By these a program is asked to end; one that has something to save ends when it has."""
DEATH_S = 0.001
"""A signal does not end a process in the same moment."""


class Program:
    """One process in a session of its own. `owner`: called when it ends, by the reaper whose child
    it is; None: it is init's child. `ended` and still in the table: a zombie."""

    def __init__(
        self,
        table: Programs,
        pid: int,
        order: dict[str, Any],
        script: Script,
        owner: Callable[[], None],
    ) -> None:
        self.pid, self.script = pid, script
        self.owner: Callable[[], None] | None = owner
        self.started_ns = table.clock.boottime_ns()
        self.environment: dict[str, str] = dict(order["env"])
        self.ended = False
        self.run = table.record(self.environment, script)
        self._table = table
        self._paths = {"stdout": order["out"], "stderr": order["err"]}
        self._unwritten = {
            stream: content_of(self.run, stream, size)
            for stream, size in (("stdout", script.out_bytes), ("stderr", script.err_bytes))
        }
        self._dying = self._saving = False
        self._act: Callable[[], None] = self._begin
        self._due_s = 0.0
        self._timer: Any = None
        self._after(0.0, self._begin)

    def receive(self, number: int, by: str) -> None:
        """A signal was sent to it, by a reaper that is its parent (`reaper`) or another one."""
        if self.ended or self._dying:
            return
        if number in (*ASKING, signal.SIGKILL):
            self.run.asked.append((self._table.clock.boottime_ns(), number))
        if number == signal.SIGKILL or (number in ASKING and self._is_plain()):
            self._dying = True
            self._after(DEATH_S, lambda: self.end(None, number, by))
        elif number in ASKING and not self.script.stubborn and not self._saving:
            self._saving = True
            self._after(self.script.saves_s, lambda: self.end(0, None, by))

    def _is_plain(self) -> bool:
        return not (self.script.stubborn or self.script.saves_s)

    def end(self, code: int | None, number: int | None, by: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.ended = True
        run = self.run
        run.ended_ns = self._table.kernel.now_ns
        run.ended_boot_ns = self._table.clock.boottime_ns()
        run.exit_code, run.signal, run.ended_by = code, number, by
        self._table.memory.leave(run)
        if self.owner is None:
            self._table.bury(self.pid)
        else:
            self.owner()

    def fail(self, delay_s: float) -> None:
        """Its device has failed; unless it gets further before, it ends of that."""
        left_s = self._due_s - self._table.kernel.loop.time()
        if not (self.ended or self._dying or self._saving) and delay_s < left_s:
            self._after(delay_s, lambda: self.end(CRASH_CODE, None, "device"))

    def orphan(self) -> None:
        """Its parent has died: init takes it over, and waits for it at once."""
        self.owner = None
        if self.ended:
            self._table.bury(self.pid)

    def pause(self) -> None:
        if not self.ended:
            self._timer.cancel()

    def resume(self, paused_s: float) -> None:
        if not self.ended:
            self._after(max(0.0, self._due_s - paused_s), self._act)

    # -- its own doing -------------------------------------------------------------------------
    def _after(self, delay_s: float, act: Callable[[], None]) -> None:
        """Its one next step, in place of whatever else it was about to do."""
        if self._timer is not None:
            self._timer.cancel()
        loop = self._table.kernel.loop
        self._act, self._due_s = act, loop.time() + delay_s
        self._timer = loop.call_later(delay_s, act, context=self._table.kernel.context)

    def _begin(self) -> None:
        self._write(lambda size: HEAD_BYTES_MAX)
        self._after(self.script.run_s / 2, self._go_on)

    def _go_on(self) -> None:
        self._write(lambda size: size // 2)
        self._after(self.script.run_s / 2, self._finish)

    def _finish(self) -> None:
        self._write(lambda size: size)
        if self.script.out_of_memory and self.run.contained:
            self.run.out_of_memory = True
            self.end(None, signal.SIGKILL, "itself")
        elif self.script.signal:
            self.end(None, self.script.signal, "itself")
        else:
            self.end(self.script.exit_code, None, "itself")

    def _write(self, count_of: Callable[[int], int]) -> None:
        for stream, data in self._unwritten.items():
            count = count_of(len(data))
            if data[:count]:
                written = self._table.disk.append_to(self._paths[stream], data[:count])
                self.run.output[stream] += data[:written]
                self.run.written[stream] += written
                self._unwritten[stream] = data[count:]


class Programs:
    """The processes of one boot of a host. `devices`: in index order."""

    def __init__(
        self,
        kernel: Kernel,
        history: History,
        disk: SimulatedDisk,
        clock: HostClock,
        boot_id: str,
        devices: Sequence[Device],
        memory: DeviceMemory,
    ) -> None:
        self.kernel, self.disk, self.clock = kernel, disk, clock
        self.memory = memory
        self.by_pid: dict[int, Program] = {}
        self.runs: list[Run] = []
        self._history, self._boot_id, self._devices = history, boot_id, devices
        self._next_pid = FIRST_PID
        self._paused_s: float | None = None

    def new_pid(self) -> int:
        self._next_pid += 1
        return self._next_pid

    def start(self, order: dict[str, Any], script: Script, owner: Callable[[], None]) -> Program:
        program = Program(self, self.new_pid(), order, script, owner)
        self.by_pid[program.pid] = program
        return program

    def record(self, environment: dict[str, str], script: Script) -> Run:
        """What the program knows about itself, and when it began."""
        visible = environment["CUDA_VISIBLE_DEVICES"]
        devices = [self._devices[int(index)] for index in visible.split(",") if index]
        alternative = int(environment.get("PENSTOCK_ALTERNATIVE", "0"))
        run = Run(
            node=environment["PENSTOCK_NODE"],
            boot_id=self._boot_id,
            tenant=environment["PENSTOCK_TENANT"],
            job_id=environment["PENSTOCK_JOB_ID"],
            attempt=int(environment["PENSTOCK_ATTEMPT"]),
            rank=int(environment["RANK"]),
            began_ns=self.kernel.now_ns,
            began_boot_ns=self.clock.boottime_ns(),
            lease_seq=int(environment["PENSTOCK_LEASE"].split("/")[0]),
            devices=tuple(device.uuid for device in devices),
            models=tuple(device.model for device in devices),
            alternative=alternative,
            gpu_milli=(script.gpu_milli, *script.alternatives_milli)[alternative],
            written={"stdout": 0, "stderr": 0},
            output={"stdout": b"", "stderr": b""},
        )
        self.runs.append(run)
        self._history.runs.append(run)
        return run

    def running(self) -> Iterator[tuple[int, Run]]:
        return ((pid, program.run) for pid, program in self.by_pid.items() if not program.ended)

    def fail_on(self, uuid: str, rng: random.Random) -> None:
        """A device has failed: some of what runs there crashes, and some hangs."""
        for program in self.by_pid.values():
            if not program.ended and uuid in program.run.devices and rng.random() < CRASH_SHARE:
                program.fail(rng.uniform(*CRASH_S))

    def bury(self, pid: int) -> None:
        """Somebody has waited for it: its pid is free."""
        del self.by_pid[pid]

    def pause(self) -> None:
        """The host is suspended: nothing runs, nothing that is due happens."""
        self._paused_s = self.kernel.loop.time()
        for program in self.by_pid.values():
            program.pause()

    def resume(self) -> None:
        if self._paused_s is not None:
            for program in self.by_pid.values():
                program.resume(self._paused_s)
        self._paused_s = None

    def lose_power(self) -> None:
        """All end at once; what they wrote and nobody read may be lost."""
        for program in list(self.by_pid.values()):
            if not program.ended:
                program.owner = None
                program.end(None, None, "host")
        self.by_pid.clear()
        for run in self.runs:
            run.output_lost = True


def content_of(run: Run, stream: str, size: int) -> bytes:
    """The same for each run of the same rank of the same attempt."""
    key = f"{run.job_id}.{run.attempt}.{run.rank}.{stream}"
    return random.Random(key).randbytes(size)
