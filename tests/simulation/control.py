"""How is each service of the control plane put together in the world?

The same shells as in production over other ports: the in-memory bus, the host's clock, ids from the
seed, work done in place of threads. It does not know when they start.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from penstock_bus.memory import MemoryBus
from penstock_client.client import Client
from penstock_gateway.app import make_app
from penstock_inventory.service import Inventory
from penstock_metering.service import Metering
from penstock_runtime.leadership import Holder
from penstock_runtime.pace import Pace
from penstock_runtime.process import StopSignal
from penstock_scheduler.service import Scheduler
from tests.simulation.authority import SimulatedAuthority
from tests.simulation.http import Door, serve
from tests.simulation.ledger import Ledger
from tests.simulation.services import Life, Slot

SUSPECT_AFTER_MS = 15_000
LOST_AFTER_MS = 45_000
SNAPSHOT_EVERY = 150
"""Entries: small, so that recoveries from snapshots are common."""

T = TypeVar("T")


PACE = Pace(tidy_s=10.0, refresh_s=6.0, silence_s=18.0, poll_s=6.0)
JUDGE_S = 1.0
"""Slower than production's: an hour is long."""


async def live_scheduler(slot: Slot, bus: MemoryBus, stop: StopSignal) -> int:
    scheduler = Scheduler(
        bus,
        clock=slot.clock,
        new_id=slot.kernel.new_id,
        snapshot_every=SNAPSHOT_EVERY,
        pace=PACE,
        identify=partial(_identify, slot),
    )
    slot.service = scheduler
    return await scheduler.run(stop)


async def live_inventory(slot: Slot, bus: MemoryBus, stop: StopSignal) -> int:
    inventory = Inventory(
        bus,
        clock=slot.clock,
        new_id=slot.kernel.new_id,
        suspect_after_ms=SUSPECT_AFTER_MS,
        lost_after_ms=LOST_AFTER_MS,
        snapshot_every=SNAPSHOT_EVERY,
        pace=PACE,
        judge_s=JUDGE_S,
        identify=partial(_identify, slot),
        authority=SimulatedAuthority(slot.kernel, slot.broker, slot.broker.history, slot.name),
    )
    slot.service = inventory
    return await inventory.run(stop)


def live_metering(ledger: Ledger) -> Life:
    async def live(slot: Slot, bus: MemoryBus, stop: StopSignal) -> int:
        metering = Metering(
            bus,
            ledger.open(),
            clock=slot.clock,
            new_id=slot.kernel.new_id,
            write=_at_once,
            read=_at_once,
            us=_identify(slot, slot.kernel.new_id()),
            pace=PACE,
        )
        slot.service = metering
        return await metering.run(stop)

    return live


def _identify(slot: Slot, writer: str) -> Holder:
    """As if each instance were on a host of its own: nobody can see whether another's process is
    there."""
    return Holder(writer=writer, host=slot.name, pid=0, pid_start=0)


async def _at_once(work: Callable[..., T], *arguments: Any) -> T:
    return work(*arguments)


def live_gateway(door: Door) -> Life:
    async def live(slot: Slot, bus: MemoryBus, stop: StopSignal) -> int:
        await serve(make_app(Client(bus), token=None), door, stop.wait)
        return 0

    return live
