"""What is in the world?

A broker, a control plane with standbys, hosts with devices, tenants: put together, started, and
asked at the end what is left. It does not know which faults befall it, nor what would be wrong.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import msgspec

from penstock_bus.memory import connect
from penstock_bus.port import Outage
from penstock_client.checking import Report
from penstock_client.client import Client
from penstock_client.failures import Refused, Unavailable
from penstock_contracts.nodes import NodeCommand
from penstock_contracts.streams import BUCKETS, OBJECT_BUCKETS, STREAMS
from penstock_runtime.leadership import BUCKET as LOCKS
from tests.checkers.history import Ending, History
from tests.simulation.broker import ObservedBroker
from tests.simulation.clocks import HostClock
from tests.simulation.control import live_gateway, live_inventory, live_metering, live_scheduler
from tests.simulation.host import SimulatedHost
from tests.simulation.host_lives import SPOOL_BYTES, SPOOL_NODE_BYTES
from tests.simulation.http import Door
from tests.simulation.joining import Guest
from tests.simulation.kernel import Kernel
from tests.simulation.ledger import Ledger
from tests.simulation.outlook import lookout, outlooks
from tests.simulation.services import Slot
from tests.simulation.steward import Steward
from tests.simulation.tenants import Tenant
from tests.simulation.terrain import MODELS, draw_ground
from tests.simulation.treasury import Treasury
from tests.simulation.workload import UNKNOWN_IMAGE

SYNC_S = 10.0
"""How often a broker with default settings syncs its files."""
SETUP_S_MAX = 10.0
OPERATOR_S = 5.0
"""What an operator waits before he tries again."""
GUESTS = (0, 0, 1, 2, 4)
"""How many of the hosts join only when the world has begun, within:"""
GUESTS_S = 600.0
LOOKOUTS = 4
"""How often copies of the scheduler are asked what they would do next."""
TENANTS = ("ada", "bo", "cy", "dee")
HOST_SIZES = ((1, 2, 4, 4, 8), (1, 1, 2, 2))
"""GPUs of a host; in a world of small ones there is little room."""


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How large a world is."""

    hosts: int = 20
    jobs: int = 220
    tenants: int = 4
    submitting_s: float = 2_700.0


class World:
    """`lossy`: the broker syncs now and then, not on every acknowledgement."""

    def __init__(self, seed: int, size: Size, template: Path) -> None:
        self.seed, self.until_s = seed, size.submitting_s
        self.kernel = Kernel(seed)
        rng = self.kernel.rng
        self.lossy = rng.random() < 0.15
        self.history = History(
            spool_bytes=(SPOOL_BYTES, SPOOL_NODE_BYTES), unknown_images=(UNKNOWN_IMAGE,)
        )
        self.broker = ObservedBroker(self.kernel, self.history, sync_always=not self.lossy)
        self.ledger = Ledger(template)
        self.door = Door()
        self.control_clock = HostClock(self.kernel)
        self.slots = self._control_plane()
        sizes = rng.choice(HOST_SIZES)
        where = random.Random(f"terrain {seed}")
        self.hosts = [self._host(rng, where, number, sizes) for number in range(size.hosts)]
        self._owing = self.hosts[0]
        coming = random.Random(f"guests {seed}")
        self.guests = [
            Guest(self, host, coming.getrandbits(64))
            for host in coming.sample(self.hosts, min(len(self.hosts) // 4, coming.choice(GUESTS)))
        ]
        gpus_max = max(host.gpus for host in self.hosts)
        names = TENANTS[: size.tenants]
        self.treasury = Treasury(
            self.kernel, self.broker, self.history, names, seed=seed, until_s=size.submitting_s
        )
        self.steward = Steward(
            self.kernel, self.broker, self.history, names, [host.name for host in self.hosts],
            seed=seed, until_s=size.submitting_s,
        )  # fmt: skip
        self.tenants = [
            Tenant(
                self.kernel, self.broker, self.door, self.history, name,
                treasury=self.treasury, steward=self.steward,
                jobs=size.jobs // size.tenants, gpus_max=gpus_max, until_s=size.submitting_s,
            )
            for name in names
        ]  # fmt: skip
        self._closed: dict[str, None] = {}

    def _control_plane(self) -> list[Slot]:
        lives = {
            "scheduler-1": live_scheduler,
            "scheduler-2": live_scheduler,
            "inventory-1": live_inventory,
            "inventory-2": live_inventory,
            "metering-1": live_metering(self.ledger),
            "metering-2": live_metering(self.ledger),
            "gateway-1": live_gateway(self.door),
        }
        return [
            Slot(self.kernel, self.broker, name, self.control_clock, life)
            for name, life in lives.items()
        ]

    def _host(
        self, rng: random.Random, where: random.Random, number: int, sizes: tuple[int, ...]
    ) -> SimulatedHost:
        name = f"node-{number:02d}"
        ground = draw_ground(where, name, gpus=rng.choice(sizes), model=rng.choice(MODELS))
        return SimulatedHost(self.kernel, self.broker, self.history, name, ground)

    def begin(self) -> None:
        """Make the streams and start everything."""
        made = self.kernel.spawn("operator", self._set_up)
        self.kernel.loop.run_until(lambda: not made.alive, SETUP_S_MAX)
        if made.error is not None:
            raise made.error
        for slot in self.slots:
            slot.start()
        for host in self.hosts:
            host.boot()
        loop = self.kernel.loop
        for guest in self.guests:
            loop.call_later(self.kernel.rng.uniform(0.0, GUESTS_S), guest.come)
        looking = random.Random(f"lookouts {self.seed}")
        for number in range(LOOKOUTS):
            moment_s = looking.uniform(GUESTS_S / 4, self.until_s)
            loop.call_later(moment_s, self._look_out, number == 0)
        self.kernel.spawn("treasurer", self.treasury.live)
        self.kernel.spawn("steward", self.steward.live)
        for tenant in self.tenants:
            self.kernel.spawn(tenant.name, tenant.live)
        if self.lossy:
            self._sync()

    async def _set_up(self) -> int:
        bus = await connect(self.broker, name="setup")
        await bus.ensure_streams(STREAMS)
        await bus.ensure_buckets(BUCKETS)
        await bus.ensure_buckets(OBJECT_BUCKETS, objects=True)
        await bus.close()
        return 0

    def _look_out(self, folded: bool) -> None:
        """In mid-work: would all copies of the scheduler do the same next?"""
        scheduler = self._active("scheduler")
        if scheduler is not None:
            now_ns = self.control_clock.now_ns()
            seen = lookout(scheduler.service, self.history, now_ns, folded=folded)
            if seen is not None:
                self.history.lookouts.append(seen)

    def _sync(self) -> None:
        self.broker.sync()
        self.kernel.loop.call_later(SYNC_S, self._sync)

    # -- what a fault does to all --------------------------------------------------------------
    def crash_broker(self, *, lose_unsynced: bool) -> None:
        if lose_unsynced and self.lossy:
            self.history.lossy_broker = True
        self.broker.crash(lose_unsynced=lose_unsynced)

    def start_broker(self) -> None:
        self.broker.start()

    def drop_lock(self, service: str) -> None:
        async def drop() -> int:
            bus = await connect(self.broker, name="operator")
            await bus.kv_delete(LOCKS, service)
            await bus.close()
            return 0

        self.kernel.spawn("operator", drop)

    def command_node(self, node: str, verb: str, command: NodeCommand) -> None:
        """An operator's command. He tries to close a node once, and to open it until it is open;
        in the end, too, in case the broker has forgotten that."""
        self._closed[node] = None

        async def order() -> int:
            while True:
                try:
                    bus = await connect(self.broker, name="operator")
                    await Client(bus).command_node(node, verb, command)
                    await bus.close()
                except (Outage, Refused, Unavailable):
                    pass
                else:
                    return 0
                if verb != "uncordon":
                    return 1
                await asyncio.sleep(OPERATOR_S)

        self.kernel.spawn("operator", order)

    # -- the end ---------------------------------------------------------------------------------
    def calm(self) -> None:
        """Nothing strikes any more: no kill is still to come."""
        for slot in self.slots:
            slot.spare()
        for host in self.hosts:
            for life in (host.agent, host.reaper):
                if life.process is not None:
                    life.process.spare()
            host.look_again()
        self.treasury.settle()
        self.steward.settle()
        for node in self._closed:
            self.command_node(node, "uncordon", NodeCommand())

    def drained(self) -> bool:
        """Whether nothing is left to do: tenants, scheduler, agents and ledger."""
        if not (self.treasury.done and self.steward.done):
            return False
        if not all(tenant.done for tenant in self.tenants):
            return False
        if not all(guest.joined for guest in self.guests):
            return False
        scheduler, metering = self._active("scheduler"), self._active("metering")
        if scheduler is None or metering is None or self._active("inventory") is None:
            return False
        state = scheduler.state()
        if state.jobs or state.leases:
            return False
        for host in (self._owing, *self.hosts):
            ending = host.ending()
            owed = ending.reports_owed or ending.segments_owed or ending.spools
            if ending.held or owed or ending.containers:
                self._owing = host  # whom to ask first next time: every answer reads a journal
                return False
        return True

    def ending(self, faults_stopped_ns: int, drained_ns: int | None) -> Ending:
        scheduler = self._active("scheduler")
        state = scheduler.state() if scheduler is not None else None
        return Ending(
            faults_stopped_ns=faults_stopped_ns,
            drained_ns=drained_ns,
            live_jobs=tuple(sorted(state.jobs)) if state is not None else ("unknown",),
            leases=tuple(sorted(str(key) for key in state.leases)) if state is not None else (),
            agents=tuple(host.ending() for host in self.hosts),
            entries_skipped=sum(slot.entries_skipped for slot in self.slots),
            outlooks=outlooks(scheduler.core(), self.history) if scheduler is not None else {},
        )

    def crashes(self) -> list[str]:
        """What nobody had foreseen: processes that crashed, callbacks that failed."""
        return self.kernel.crashes + self.kernel.bugs

    def _active(self, service: str) -> Any:
        for slot in self.slots:
            if slot.name.startswith(service) and slot.alive and slot.is_active:
                return slot.service
        return None

    def audit(self, until_s: float) -> Report | None:
        """The mesh's own check, as an operator would run it; None: it did not come to an end."""
        found: list[Report] = []

        async def check() -> int:
            bus = await connect(self.broker, name="auditor")
            found.append(await Client(bus).check())
            await bus.close()
            return 0

        process = self.kernel.spawn("auditor", check)
        self.kernel.loop.run_until(lambda: not process.alive, until_s)
        return found[0] if found else None
