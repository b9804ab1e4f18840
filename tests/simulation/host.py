"""What is a machine of the fleet in a world without machines?

The real agent and the real reaper on a simulated disk, with simulated devices and programs, and
what may befall such a machine. It does not know the rest of the mesh.
"""

from __future__ import annotations

import random
from collections import deque

from penstock_bus.memory_broker import MemoryBroker
from penstock_node_agent.core.state import State
from penstock_node_agent.drivers.port import MemoryUse
from penstock_node_agent.journal import JOURNAL_NAME, read_state
from tests.checkers.history import AgentEnding, Boot, DeviceFault, History
from tests.simulation.clocks import HostClock
from tests.simulation.disk import SimulatedDisk
from tests.simulation.host_devices import CONDEMNING, HARMLESS_XIDS, SPOILT, XIDS, FaultyDriver
from tests.simulation.host_lives import STATE, AgentLife, ReaperLife
from tests.simulation.host_memory import DeviceMemory
from tests.simulation.host_podman import PodmanStore
from tests.simulation.host_programs import Programs
from tests.simulation.kernel import Kernel
from tests.simulation.loop import PROCESS
from tests.simulation.terrain import Ground

COMPLAINTS_MAX = 100


class SimulatedHost:
    """`name`: of the node, and of its agent's client at the broker. `outside`: it is no node, and
    has no agent. `complaints`: what the reaper could not tell anybody."""

    def __init__(
        self,
        kernel: Kernel,
        broker: MemoryBroker,
        history: History,
        name: str,
        ground: Ground,
    ) -> None:
        self.kernel, self.broker, self.history, self.name = kernel, broker, history, name
        self.gpus, self.labels = len(ground.models), ground.labels
        self.rng = random.Random(kernel.rng.getrandbits(64))
        self.clock = HostClock(kernel)
        self.disk = SimulatedDisk(self.rng, self._stall)
        self.memory = DeviceMemory(kernel, history)
        self.driver = FaultyDriver(
            ground,
            node=name,
            kernel=kernel,
            memory=self._memory_of if ground.checks_devices else None,
        )
        self.device_uuids = tuple(device.uuid for device in self.driver.built_in)
        self.podman: PodmanStore | None = None
        self.tells_status = ground.tells_status
        if ground.podman:
            seed = self.rng.getrandbits(64)
            self.podman = PodmanStore(kernel, self.disk, self.clock, name, seed)
        self.up = self.suspended = self.outside = False
        self.boot_id = ""
        self.complaints: deque[str] = deque(maxlen=COMPLAINTS_MAX)
        self.agent = AgentLife(self)
        self.reaper = ReaperLife(self)
        self._boots: list[Boot] = []
        self._repaired = False
        self._ailing: dict[str, DeviceFault] = {}
        self._read: tuple[tuple[object, int], State] | None = None
        self.disk.make_directory(STATE)

    @property
    def agent_alive(self) -> bool:
        return self.agent.alive

    @property
    def reaper_alive(self) -> bool:
        return self.reaper.alive

    # -- power ---------------------------------------------------------------------------------
    def boot(self, *, with_agent: bool = True) -> None:
        """Come up, and start the agent."""
        if self.up or self.outside:
            return
        if self._boots:
            self.clock.reboot()
        self.up, self.suspended = True, False
        self.boot_id = self.kernel.new_id()
        self._boots.append(Boot(node=self.name, boot_id=self.boot_id, began_ns=self.kernel.now_ns))
        self.history.boots.append(self._boots[-1])
        self.programs = Programs(
            self.kernel,
            self.history,
            self.disk,
            self.clock,
            self.boot_id,
            self.driver.built_in,
            self.memory,
        )
        if self.podman is not None:
            self.podman.programs, self.podman.suspended = self.programs, False
        if with_agent:
            self.agent.start()

    def lose_power(self) -> None:
        """Everything ends, and what is not on the platters is lost as chance has it."""
        if not self.up:
            return
        self.up = self.suspended = False
        self._boots[-1].ended_ns = self.kernel.now_ns
        self.agent.kill()
        self.reaper.kill()
        self.programs.lose_power()
        if self.podman is not None:
            self.podman.lose_power()
        self.memory.clear()
        self.driver.reboot()
        for uuid in [uuid for uuid in self._ailing if uuid not in self.driver.faults]:
            self._ailing.pop(uuid).ended_ns = self.kernel.now_ns
        self.disk.lose_power()

    def lose_disk(self) -> None:
        """It loses power and all that it has ever written; it boots with an empty disk."""
        if self.up:
            self.lose_power()
            self._boots[-1].destroyed = True
            self.disk.replace()
            self.disk.make_directory(STATE)

    def suspend(self) -> None:
        """Boot time goes on, and nothing else."""
        if self.up and not self.suspended:
            self.suspended = True
            self.programs.pause()
            self._settle()

    def resume(self) -> None:
        if self.suspended:
            self.suspended = False
            self.programs.resume()
            self._settle()
            self.agent.start()

    # -- processes -----------------------------------------------------------------------------
    def kill_agent(self, steps: int = 0) -> None:
        """kill -9 before its n-th step from now; its supervisor starts another."""
        self.agent.kill(steps)

    def stop_agent(self) -> None:
        """SIGTERM; its supervisor starts another."""
        self.agent.stop()

    def freeze_agent(self) -> None:
        self.agent.freeze()

    def thaw_agent(self) -> None:
        self.agent.thaw()

    def kill_reaper(self, steps: int = 0) -> None:
        """kill -9 before its n-th step from now; the agent starts another."""
        self.reaper.kill(steps)

    def freeze_reaper(self) -> None:
        self.reaper.freeze()

    def thaw_reaper(self) -> None:
        self.reaper.thaw()

    # -- devices -------------------------------------------------------------------------------
    def break_device(self, uuid: str, kind: str) -> None:
        """One that is broken stays as it is."""
        if uuid in self.driver.faults:
            return
        now_ns = self.kernel.now_ns
        fault = DeviceFault(node=self.name, device=uuid, kind=kind, began_ns=now_ns)
        self.history.device_faults.append(fault)
        if kind == SPOILT:
            fault.ended_ns = now_ns
        else:
            self.driver.faults[uuid], self._ailing[uuid] = kind, fault
        if kind in XIDS:
            fault.told = self.driver.tell(uuid, XIDS[kind])
            self.programs.fail_on(uuid, self.rng)

    def irritate_device(self, uuid: str) -> None:
        """The driver logs an error that says nothing about the device."""
        self.driver.tell(uuid, self.rng.choice(HARMLESS_XIDS))

    def repair_device(self, uuid: str) -> None:
        """Some faults only a reboot mends."""
        if self.driver.faults.get(uuid) in CONDEMNING:
            self.lose_power()
            self.boot()
        elif self.driver.faults.pop(uuid, None) is not None:
            self._repaired = True
            self._ailing.pop(uuid).ended_ns = self.kernel.now_ns

    def look_again(self) -> None:
        """Whoever has repaired devices here has the agent look at them."""
        if self._repaired:
            self._repaired = False
            self.stop_agent()

    def _memory_of(self, uuid: str) -> MemoryUse:
        return self.memory.use(uuid, self.programs.running())

    # -- what is left --------------------------------------------------------------------------
    def state(self) -> State:
        """What the agent's journal says; read again only when it has grown."""
        path = f"{STATE}/{JOURNAL_NAME}"
        version = self.disk.version(path)
        if self._read is None or self._read[0] != version:
            self._read = version, read_state(self.disk, path, self.name)[0]
        return self._read[1]

    def ending(self) -> AgentEnding:
        state = self.state()
        return AgentEnding(
            node=self.name,
            held=tuple(state.leases),
            reports_owed=len(state.reports),
            segments_owed=len(state.usage) + sum(len(batch.segments) for batch in state.former),
            spools=len(state.spools),
            containers=self.podman.ours() if self.podman is not None else (),
            others_gone=self.podman.foreign_gone() if self.podman is not None else (),
        )

    def _settle(self) -> None:
        if self.podman is not None:
            self.podman.suspended = self.suspended
        self.agent.settle()
        self.reaper.settle()

    def _stall(self, seconds: float) -> None:
        """Whoever runs now waits for the disk."""
        process = PROCESS.get()
        for life in (self.agent, self.reaper):
            if process is not None and life.process is process:
                life.stall(seconds)
