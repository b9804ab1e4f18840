"""What can be done to the mesh, and how is it undone?

One coroutine per kind of fault: it hurts, waits, mends, and says in a sentence what it did. None of
them chooses: the victim and the duration are given. It does not know when faults come.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable

from chaos.mesh import BROKERS, CONTROLS, GATEWAY_HOST, STANDING_BY, ChaosMesh
from chaos.processes import Process
from chaos.proxy import GOOD, Condition
from penstock_bus.nats import NatsBus
from penstock_bus.port import BusRefusal, Outage

STREAMS = ("JOBS", "REQUESTS", "REPORTS", "NODES", "USAGE", "FACTS", "KV_LOCKS", "LOGS")
STILL_S_MAX = 15.0
"""Longer than every time-out: whoever stood still for 12 s has missed all deadlines of others."""
HEALTH_PORT = 8222
MONITOR_TIMEOUT_S = 2.0
HEALTHY_AFTER_S = 8.0
UPGRADE_PAUSE_S = 2.0

Done = tuple[str, str | None]
"""(what was done, the host that it was done to)."""
Deed = Callable[["Faults"], Awaitable[Done]]


class Faults:
    """The deeds on one mesh. `admin` is a connection that nothing disturbs."""

    def __init__(self, mesh: ChaosMesh, admin: NatsBus, rng: random.Random) -> None:
        self.mesh, self.admin, self.rng = mesh, admin, rng
        self.broker_restarts = 0

    # -- processes -------------------------------------------------------------------------------
    async def kill(self, prefix: str) -> Done:
        chosen = self._one_of(prefix)
        chosen.hold(self.rng.uniform(0.0, 6.0))
        chosen.send(signal.SIGKILL)
        return f"kill -9 of {chosen.name}", chosen.host

    async def kill_reaper(self) -> Done:
        node = self.rng.choice(self.mesh.nodes)
        pid = self.mesh.reaper_pid(node)
        if pid is not None:
            _signal(pid, signal.SIGKILL)
        return f"kill -9 of the reaper on {node}", node

    async def freeze(self, prefix: str) -> Done:
        chosen = self._one_of(prefix)
        seconds = self.rng.uniform(2.0, STILL_S_MAX)
        pid = chosen.pid
        if pid is not None:
            _signal(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                _signal(pid, signal.SIGCONT)
        return f"{chosen.name} stood still for {seconds:.1f} s", chosen.host

    async def upgrade(self) -> Done:
        """Every process of ours, one after the other, by SIGTERM: the next life is the new one."""
        for name, process in self.mesh.warden.processes.items():
            if not name.startswith("broker-"):
                process.send(signal.SIGTERM)
                await asyncio.sleep(UPGRADE_PAUSE_S)
        return "every service and agent restarted in turn", None

    # -- brokers ---------------------------------------------------------------------------------
    async def kill_leader(self) -> Done:
        stream = self.rng.choice(STREAMS)
        leader = await self._leader_of(stream)
        process = self.mesh.warden.processes[f"broker-{leader}"]
        process.hold(self.rng.uniform(0.0, 10.0))
        process.send(signal.SIGKILL)
        return f"kill -9 of {leader}, leader of {stream}", leader

    async def step_down(self) -> Done:
        stream = self.rng.choice(STREAMS)
        await self.admin.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", b"", timeout_s=5.0)
        return f"the leader of {stream} stepped down", None

    # -- network ---------------------------------------------------------------------------------
    async def cut(self, hosts: tuple[str, ...]) -> Done:
        host, seconds = self.rng.choice(hosts), self.rng.uniform(2.0, 15.0)
        self.mesh.network.cut(host)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.mesh.network.join(host)
        return f"{host} was cut off for {seconds:.1f} s", host

    async def mute(self, hosts: tuple[str, ...]) -> Done:
        """One way: what the host sends to the brokers' side is lost."""
        host, seconds = self.rng.choice(hosts), self.rng.uniform(2.0, 12.0)
        network = self.mesh.network
        await self._muted(host, (network.machine,), seconds)
        return f"nothing from {host} arrived for {seconds:.1f} s", host

    async def mute_brokers(self) -> Done:
        """One broker is heard by none of the others, but hears them."""
        host, seconds = self.rng.choice(BROKERS), self.rng.uniform(2.0, 12.0)
        others = tuple(self.mesh.network.address(b) for b in BROKERS if b != host)
        await self._muted(host, others, seconds)
        return f"no broker heard {host} for {seconds:.1f} s", host

    async def _muted(self, host: str, addresses: tuple[str, ...], seconds: float) -> None:
        for address in addresses:
            self.mesh.network.mute(host, address)
        try:
            await asyncio.sleep(seconds)
        finally:
            for address in addresses:
                self.mesh.network.unmute(host, address)

    async def disturb(self) -> Done:
        """One host's ways to the brokers: slow, stalled in one direction, thin, or reset."""
        rng = self.rng
        host = rng.choice((*CONTROLS, GATEWAY_HOST, *self.mesh.nodes))
        seconds = rng.uniform(2.0, 12.0)
        kind = rng.choice(("delay", "stall up", "stall down", "thin", "reset"))
        condition = {
            "delay": Condition(delay_s=rng.uniform(0.05, 0.5)),
            "stall up": Condition(stalled=frozenset({"up"})),
            "stall down": Condition(stalled=frozenset({"down"})),
            "thin": Condition(bytes_per_s=20_000),
            "reset": GOOD,
        }[kind]
        links = self.mesh.links_of(host)
        for link in links:
            if kind == "reset":
                link.reset()
            link.set(condition)
        try:
            await asyncio.sleep(0.0 if kind == "reset" else seconds)
        finally:
            for link in links:
                link.set(GOOD)
        return f"{kind} between {host} and the brokers", host

    # -- disks -----------------------------------------------------------------------------------
    async def fill(self, names: tuple[str, ...]) -> Done:
        name, seconds = self.rng.choice(names), self.rng.uniform(2.0, 8.0)
        disk = self.mesh.disks[name]
        await asyncio.to_thread(disk.fill)
        try:
            await asyncio.sleep(seconds)
        finally:
            disk.empty()
        if name in BROKERS:
            await self._revive(name)
        return f"the disk of {name} was full for {seconds:.1f} s", name

    async def _revive(self, broker: str) -> None:
        """A broker that has met a full disk puts its storage away until it is started again: what
        an operator does, or a supervisor that asks after its health."""
        await asyncio.sleep(HEALTHY_AFTER_S)
        if not await self.is_healthy(broker):
            self.broker_restarts += 1
            self.mesh.warden.processes[f"broker-{broker}"].send(signal.SIGKILL)

    async def is_healthy(self, broker: str) -> bool:
        """What `/healthz` says."""
        address = self.mesh.network.address(broker)
        try:
            async with asyncio.timeout(MONITOR_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(address, HEALTH_PORT)
                writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
                answer = await reader.read()
                writer.close()
        except (OSError, TimeoutError):
            return False
        return b" 200 " in answer.split(b"\r\n")[0]

    # -- choosing --------------------------------------------------------------------------------
    def _one_of(self, prefix: str) -> Process:
        chosen = self.mesh.warden.of(prefix)
        if not chosen:
            raise Outage(f"no {prefix} runs")
        return self.rng.choice(chosen)

    async def _leader_of(self, stream: str) -> str:
        info = await self.admin._streams.info(stream)
        leader = info["cluster"].get("leader")
        if leader not in BROKERS:
            raise Outage(f"{stream} has no leader")
        return str(leader)


def _signal(pid: int, how: int) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return


def deeds(mesh: ChaosMesh) -> dict[str, tuple[int, Deed]]:
    """Every kind of fault by name, with its weight. Those on brokers are rarer: each costs an
    election of 4 to 9 s, in which nobody works and nothing else is tried out."""
    everywhere = (*CONTROLS, *mesh.nodes)
    found: dict[str, tuple[int, Deed]] = {
        "kill reaper": (3, Faults.kill_reaper),
        "kill leader": (3, Faults.kill_leader),
        "step down": (8, Faults.step_down),
        "disturb": (10, Faults.disturb),
        "upgrade": (1, Faults.upgrade),
        "mute brokers": (3, Faults.mute_brokers),
        "cut host": (6, lambda f: f.cut(everywhere)),
        "cut broker": (2, lambda f: f.cut(BROKERS)),
        "mute host": (5, lambda f: f.mute(everywhere)),
        "disk full: broker": (1, lambda f: f.fill(BROKERS)),
        "disk full: agent": (3, lambda f: f.fill(mesh.nodes)),
        "disk full: ledger": (2, lambda f: f.fill(("ledger",))),
        "freeze broker": (2, lambda f: f.freeze("broker-")),
        "freeze agent": (5, lambda f: f.freeze("agent-")),
        "kill agent": (8, lambda f: f.kill("agent-")),
        "kill gateway": (1, lambda f: f.kill("gateway")),
    }
    for service in STANDING_BY:
        found[f"kill {service}"] = (5, lambda f, service=service: f.kill(service))
        found[f"freeze {service}"] = (3, lambda f, service=service: f.freeze(service))
    return found


ON_BROKERS = frozenset(
    {"kill leader", "mute brokers", "cut broker", "disk full: broker", "freeze broker"}
)
"""Of these one at a time: two brokers of three gone is an outage, no fault to survive."""
REFUSALS = (Outage, BusRefusal)
