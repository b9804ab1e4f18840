"""How does a whole run go?

The mesh comes up, jobs flow, faults fall on it by a seeded schedule, everything is mended, the mesh
drains, and the history is judged by the checkers of the simulation. One JSON object tells the
outcome. It does not know how anything is hurt or judged.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from chaos.faults import Faults
from chaos.load import Load, boottime_ns
from chaos.mesh import USER_HOST, ChaosMesh, Size
from chaos.observer import Observer
from chaos.outcome import audit, drain, verdict
from chaos.schedule import Schedule
from chaos.witness import Witness
from penstock_bus.nats import NatsBus, connect
from penstock_contracts.nodes import NodeRegistered
from tests.checkers.history import Ending, History

READY_TIMEOUT_S = 90.0
POLL_S = 0.1
LATE_NS = 50_000_000
STAMP_MS = 1_000
"""A job says that it runs when its interpreter does: so much later than its reaper stamped it, on a
machine that is busy with forty other processes."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`seconds` of load and faults, one fault every `fault_every_s` on average."""

    seed: int
    seconds: float
    jobs: int
    fault_every_s: float = 4.0
    size: Size = Size()


class Campaign:
    """One run below `root`. `run` gives the summary."""

    def __init__(
        self, plan: Plan, root: Path, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self.plan = plan
        self.mesh = ChaosMesh(root, plan.size)
        self.history = History(late_ns=LATE_NS, stamp_ms=STAMP_MS)
        self._rng = random.Random(plan.seed)
        self._root = root
        self._say = say
        self._begun = time.monotonic()

    async def run(self) -> dict[str, Any]:
        """Raises NotPossible when this machine cannot."""
        witness = Witness(self._root)
        await witness.open()
        self.history.runs = witness.runs
        try:
            await self.mesh.open()
            self._tell("the mesh has started")
            return await self._connected(witness)
        finally:
            await self.mesh.close()
            await witness.close()

    async def _connected(self, witness: Witness) -> dict[str, Any]:
        admin = await self.mesh.admin()
        creds = str(self.mesh.directory.client_creds)
        user = await connect(self.mesh.url(USER_HOST), name="chaos-user", credentials=creds)
        observer = Observer(admin, self.history)
        observer.start()
        try:
            await self._until_ready()
            self._tell("every node is known")
            return await self._under_fire(admin, user, observer, witness)
        finally:
            await observer.close()
            await user.close()
            await admin.close()

    async def _under_fire(
        self, admin: NatsBus, user: NatsBus, observer: Observer, witness: Witness
    ) -> dict[str, Any]:
        plan, history = self.plan, self.history
        faults = Faults(self.mesh, admin, self._child_rng())
        schedule = Schedule(faults, history, self._child_rng(), self._tell)
        load = Load(user, history, witness.path, self._child_rng(), plan.size.devices)
        async with asyncio.TaskGroup() as group:
            group.create_task(schedule.run(plan.seconds, plan.fault_every_s))
            group.create_task(load.run(plan.jobs, plan.seconds))
        self._tell("no more jobs, no more faults")
        ending = Ending(faults_stopped_ns=boottime_ns())
        await drain(history, ending)
        self._tell("drained" if ending.drained_ns is not None else "not drained")
        report = await audit(user, ending)
        await observer.settle()
        exits = {n: dict(p.exits) for n, p in self.mesh.warden.processes.items() if p.exits}
        return {
            "seed": plan.seed,
            "minutes": round(plan.seconds / 60, 2),
            "faults": schedule.done.total(),
            "faults_by_kind": dict(sorted(schedule.done.items())),
            "faults_that_found_nobody": schedule.missed.total(),
            "brokers_restarted_after_full_disk": faults.broker_restarts,
            "exits": exits,
            **verdict(history, self.mesh, load, observer, report),
        }

    async def _until_ready(self) -> None:
        """Every node is known, and a scheduler leads."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        known: set[str] = set()
        while not known >= set(self.mesh.nodes) or not self.history.jobs_entries:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the mesh is not ready, see {self._root}")
            await asyncio.sleep(POLL_S)
            for seen in self.history.nodes_entries:
                facts = (fact for fact in seen.entry.facts if isinstance(fact, NodeRegistered))
                known |= {fact.description.node for fact in facts}

    def _child_rng(self) -> random.Random:
        return random.Random(self._rng.getrandbits(64))

    def _tell(self, text: str) -> None:
        self._say(f"{time.monotonic() - self._begun:7.1f} s  {text}")
