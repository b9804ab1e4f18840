"""Is a device fit to be used now, and free again after it was?

Before a lease begins and after it has ended: the devices answer, none of this node's processes is
left on them, their memory is free. One of which that cannot be said is held back until it can.
It does not know which devices leases share: who asks names only those that nobody else uses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from penstock_node_agent.core.devices import MEMORY_HELD, Fault
from penstock_node_agent.core.occupancy import what_is_left
from penstock_node_agent.devices.idle_tests import IdleTests
from penstock_node_agent.devices.watch import DeviceWatch
from penstock_node_agent.drivers.port import DRIVER_ERROR, DeviceDriver, DriverSilent, MemoryUse

BEFORE_S = 5.0
"""How long a lease waits for its devices to be clean before it is declined."""
AFTER_S = 10.0
"""How long the memory of what has ended may take to come back."""
AGAIN_S_FIRST = 0.02
AGAIN_S_MAX = 1.0

OwnersOf = Callable[[Sequence[int]], Mapping[int, str]]
Left = dict[str, Fault]
"""What is wrong, by device; empty when nothing is."""


class Occupancy:
    """What is on the devices. `idle_mib`: memory that may be in use on an idle one beside what its
    driver keeps to itself. `owners_of`: the leases of processes, empty = none of this node."""

    def __init__(self, driver: DeviceDriver, *, idle_mib: int, owners_of: OwnersOf) -> None:
        self._driver, self._idle_mib, self._owners_of = driver, idle_mib, owners_of

    @property
    def known(self) -> bool:
        """Whether the driver can say."""
        return self._driver.can_check

    async def look(self, uuids: Sequence[str]) -> Left:
        """What keeps these from being called free now."""
        try:
            return await asyncio.to_thread(self._look, uuids)
        except DriverSilent as error:
            silent = Fault(DRIVER_ERROR, f"its driver does not answer: {error}")
            return dict.fromkeys(uuids, silent)

    def _look(self, uuids: Sequence[str]) -> Left:
        uses = self._driver.memory_in_use(uuids)
        left: Left = {}
        for uuid in uuids:
            use = uses.get(uuid)
            if use is None:
                left[uuid] = Fault(DRIVER_ERROR, "it does not answer")
            elif reason := self._judge(use):
                left[uuid] = Fault(MEMORY_HELD, reason)
        return left

    def _judge(self, use: MemoryUse) -> str:
        pids = use.pids or ()
        owners = self._owners_of(pids) if pids else {}
        return what_is_left(use.used_mib, pids, self._idle_mib, owners)


class DeviceChecks:
    """The checks around a lease."""

    def __init__(self, occupancy: Occupancy, watch: DeviceWatch, tests: IdleTests) -> None:
        self._occupancy, self._watch, self._tests = occupancy, watch, tests

    def wanted(self, uuids: Sequence[str]) -> bool:
        """Whether anything is to be done or can be said about them."""
        return bool(uuids) and (self._occupancy.known or self._tests.run_programs)

    async def before(self, uuids: Sequence[str]) -> dict[str, str]:
        """What keeps a lease from beginning on these, by device, as a sentence; empty when nothing
        does. What the agent itself tests there ends first."""
        await self._tests.interrupt(uuids)
        return await self._settle(uuids, BEFORE_S)

    async def after(self, uuids: Sequence[str]) -> dict[str, str]:
        """What keeps these from being called released; asked again until nothing does. One that is
        unhealthy for another reason, and may not answer any more, is kept from use by that."""
        sick = {device.uuid for device in self._watch.devices if not device.healthy}
        sick -= set(self._watch.held)
        return await self._settle([uuid for uuid in uuids if uuid not in sick], AFTER_S)

    async def _settle(self, uuids: Sequence[str], patience_s: float) -> dict[str, str]:
        """Look until all is well or patience is at its end. One that is still in use is held back
        then, and let go when it is not."""
        if not uuids or not self._occupancy.known:
            return {}
        now_s = asyncio.get_running_loop().time
        deadline_s, again_s = now_s() + patience_s, AGAIN_S_FIRST
        while left := await self._occupancy.look(uuids):
            if now_s() >= deadline_s:
                break
            await asyncio.sleep(again_s)
            again_s = min(2 * again_s, AGAIN_S_MAX)
        for uuid in uuids:
            fault = left.get(uuid)
            if fault is None:
                self._watch.let_go(uuid, MEMORY_HELD)
            elif fault.code == MEMORY_HELD:
                self._watch.hold(uuid, fault)
            else:
                self._watch.look_soon()
        return {uuid: fault.reason for uuid, fault in left.items()}
