"""How do the agent and the reaper of a simulated host live?

The real shells, started as production starts them, over the host's ports. It does not know what
befalls them.
"""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import TYPE_CHECKING

from penstock_bus.memory import connect
from penstock_bus.port import Bus
from penstock_node_agent.config import Config
from penstock_node_agent.host import Host
from penstock_node_agent.ports import PortRange
from penstock_node_agent.reaper.containers import Containers
from penstock_node_agent.reaper.loop import Reaper
from penstock_node_agent.reaper.podman import Podman
from penstock_node_agent.reaper_package import START_S_MAX, ReaperDidNotStart
from penstock_node_agent.service import live
from penstock_node_agent.telling.spool_room import SpoolBounds
from penstock_node_agent.workplace import containers
from penstock_runtime.process import StopSignal
from tests.simulation.host_containers import NoPodman, SimulatedPodman
from tests.simulation.host_processes import SimulatedProcesses
from tests.simulation.host_reaper import SimulatedChannel
from tests.simulation.host_watch import SimulatedWatch
from tests.simulation.kernel import Process
from tests.simulation.loop import PROCESS

if TYPE_CHECKING:
    from tests.simulation.host import SimulatedHost

STATE = "/state"
HEARTBEAT_S = 5.0
SAMPLE_S = 240.0
SPOOL_BYTES, SPOOL_NODE_BYTES = 20_000, 150_000
"""Little, so that there is soon no room for what programs write while the broker is away."""
RESTART_S = 1.0
"""What a supervisor waits before it starts an agent again."""
REAPER_START_S = 0.03
REAPER_TICK_MS = 60_000
"""Virtual timers, unlike real ones, count while a host is suspended."""


class Life:
    """One of a host's two processes, started again and again. An end by an error of its own that
    no full disk explains is a crash."""

    def __init__(self, host: SimulatedHost, name: str) -> None:
        self.host = host
        self.process: Process | None = None
        self._name = f"{host.name}/{name}"
        self._stopped = False
        self._stalls = 0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    def start(self) -> None:
        """Unless it lives, or nothing can."""
        if not self.alive and self.host.up and not self.host.suspended:
            self._stopped, self._stalls = False, 0
            self.process = self.host.kernel.spawn(self._name, self._main, self._note_end)

    def kill(self, steps: int = 0) -> None:
        """kill -9 before its n-th step from now."""
        if self.process is None or not self.process.alive:
            return
        if steps:
            self.process.kill_after(steps)
        else:
            self.process.kill()

    def freeze(self) -> None:
        """As SIGSTOP."""
        self._stopped = True
        self.settle()

    def thaw(self) -> None:
        self._stopped = False
        self.settle()

    def stall(self, seconds: float) -> None:
        """It waits for the disk: after this step, which has called, nothing of it runs."""
        process = self.process
        self._stalls += 1

        def go_on() -> None:
            if self.process is process:
                self._stalls -= 1
                self.settle()

        self.host.kernel.loop.call_later(seconds, go_on, context=self.host.kernel.context)
        self.settle()

    def settle(self) -> None:
        """Have it run or not, as it should now."""
        if self.process is None or not self.process.alive:
            return
        still = self._stopped or self._stalls > 0 or self.host.suspended
        if still and not self.process.frozen:
            self.process.freeze()
        elif not still and self.process.frozen:
            self.process.thaw()

    async def _main(self) -> int:
        raise NotImplementedError

    def _note_end(self, process: Process) -> None:
        error = process.error
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        if error is not None and not full:
            self.host.kernel.crashes.append(f"{process.name}: {error!r}")


class AgentLife(Life):
    """The agent, under a supervisor."""

    def __init__(self, host: SimulatedHost) -> None:
        super().__init__(host, "agent")
        self._stop = StopSignal()
        self._config = Config(
            node=host.name,
            state_dir=Path(STATE),
            data_dir=Path(STATE),
            heartbeat_s=HEARTBEAT_S,
            sample_s=SAMPLE_S,
            labels=host.labels,
        )

    def stop(self) -> None:
        """SIGTERM: an upgrade, say. The work goes on."""
        if self.alive:
            self._stop.request("SIGTERM")

    async def _main(self) -> int:
        host = self.host
        self._stop = StopSignal()
        ports = Host(
            clock=host.clock,
            boot_id=host.boot_id,
            environment={"PATH": "/bin"},
            disk=host.disk,
            driver=host.driver,
            ports=PortRange(20_000, 20_999, lambda port: True),
            reaper=SimulatedDoor(host),
            podman=self._podman(),
            spool=SpoolBounds(SPOOL_BYTES, SPOOL_NODE_BYTES),
            watch=lambda directory, on_grown: SimulatedWatch(host, directory, on_grown),
        )
        return await live(self._config, ports, self._dial, self._stop)

    def _podman(self) -> containers.Podman | None:
        store = self.host.podman
        if store is None:
            return None
        return containers.Podman(
            containers.PodmanSettings(), store.owner, store.ask, self.host.disk, STATE
        )

    async def _dial(self) -> Bus:
        host, process = self.host, PROCESS.get()
        bus = await connect(host.broker, name=host.name)
        arrives = host.rng.random() < 0.5
        if process is not None:
            process.at_death(lambda: bus.kill(sent_arrives=arrives))
        return bus

    def _note_end(self, process: Process) -> None:
        super()._note_end(process)
        self.host.kernel.loop.call_later(RESTART_S, self.start)


class ReaperLife(Life):
    """The reaper, started by the agent when none is there."""

    def __init__(self, host: SimulatedHost) -> None:
        super().__init__(host, "reaper")
        self.channel: SimulatedChannel | None = None
        self._reaper: Reaper | None = None
        self._awaited: list[asyncio.Future[bool]] = []

    async def ready(self) -> bool:
        """Whether it listens, once that is decided; started unless it lives."""
        self.start()
        if self.channel is not None:
            return True
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._awaited.append(future)
        return await future

    def leave(self) -> None:
        """SIGTERM: stop all work and end."""
        if self._reaper is not None and self.channel is not None:
            self._reaper.leave()
            self.channel.wake()

    async def _main(self) -> int:
        host, process, programs = self.host, PROCESS.get(), self.host.programs
        channel = SimulatedChannel(host.kernel)
        processes = SimulatedProcesses(programs, channel.wake)
        if process is not None:
            process.at_death(lambda: self._die(channel, processes))
        await asyncio.sleep(REAPER_START_S)
        podman: Podman = NoPodman()
        if host.podman is not None:
            simulated = podman = SimulatedPodman(
                host.podman, processes, channel.wake, tells_status=host.tells_status
            )
            if process is not None:
                process.at_death(simulated.die)
        contained = Containers(
            STATE,
            disk=host.disk,
            podman=podman,
            boottime_ns=host.clock.boottime_ns,
            complain=host.complaints.append,
        )
        reaper = Reaper(
            STATE,
            host.boot_id,
            disk=host.disk,
            processes=processes,
            containers=contained,
            channel=channel,
            boottime_ns=host.clock.boottime_ns,
            complain=host.complaints.append,
            abilities={"offers": ["paid_time"], "facts": {"cgroups": "none: simulated"}},
            tick_ms=REAPER_TICK_MS,
        )
        self._reaper, self.channel = reaper, channel
        self._settle(listening=True)
        while True:
            await channel.pause(reaper.timeout_ms())
            going_on = reaper.turn()
            if not host.disk.full:  # what it has seen is in its log
                processes.note_waited()
            if not going_on:
                return 0

    def _note_end(self, process: Process) -> None:
        super()._note_end(process)
        if not self.alive:  # killed before it began
            self._settle(listening=False)

    def _die(self, channel: SimulatedChannel, processes: SimulatedProcesses) -> None:
        processes.die()
        channel.close()
        self.channel = self._reaper = None
        self._settle(listening=False)

    def _settle(self, *, listening: bool) -> None:
        awaited, self._awaited = self._awaited, []
        for future in awaited:
            if not future.done():
                future.set_result(listening)


class SimulatedDoor:
    """The agent's port to its reaper."""

    code = ""

    def __init__(self, host: SimulatedHost) -> None:
        self._host = host

    async def connect(self, link: asyncio.Protocol) -> None:
        channel = self._host.reaper.channel
        if channel is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        link.connection_made(channel.connect(link))

    async def start(self) -> None:
        async with asyncio.timeout(START_S_MAX):
            listening = await self._host.reaper.ready()
        if not listening:
            raise ReaperDidNotStart("the reaper ended")

    async def end(self, timeout_s: float) -> None:
        raise NotImplementedError(f"no simulated agent stops its work ({timeout_s} s)")
