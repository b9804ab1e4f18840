"""Is a device that nobody uses still well?

On a schedule, one device at a time: it answers, nothing is on it, and the operator's own test, if
there is one, succeeds on it. What fails twice in a row holds the device back until it passes again.
It does not know what the test does; a lease that comes ends it at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from penstock_node_agent.core.devices import MEMORY_HELD, SANITY, Fault
from penstock_node_agent.devices.watch import DeviceWatch
from penstock_node_agent.programs import NOT_STARTED, Ran, Run

log = logging.getLogger(__name__)

HELD_AGAIN_S = 5.0
"""How often a device that is held back is looked at."""
AGAIN_S = 60.0
"""How often it is asked whether there is anything to test with."""
STRIKES = 2
STRIKE_AGAIN_S = 1.0


class Occupied(Protocol):
    """What is on the devices; `known` false: their driver cannot say."""

    @property
    def known(self) -> bool: ...

    async def look(self, uuids: Sequence[str]) -> Mapping[str, Fault]: ...


class OperatorTest:
    """An operator's program: exit code 0 = the device is well. No program: none is run."""

    def __init__(
        self, run: Run, argv: Sequence[str], timeout_s: float, environment: Mapping[str, str]
    ) -> None:
        self._run, self.argv, self._timeout_s = run, tuple(argv), timeout_s
        self._environment = dict(environment)

    async def fault(self, uuid: str, visible: Mapping[str, str]) -> str:
        """Why the device has failed; empty when it has not. A program that cannot be started says
        nothing about a device."""
        env = {**self._environment, **visible, "PENSTOCK_DEVICE": uuid}
        ran = await self._run(self.argv, env, self._timeout_s)
        if ran.code in NOT_STARTED:
            log.error("devices are not tested: %s", ran.last_line)
        if ran.code in (0, *NOT_STARTED):
            return ""
        return self._said(ran)

    def _said(self, ran: Ran) -> str:
        how = f"took longer than {self._timeout_s:g} s"
        if ran.code is not None:
            how = f"ended with {ran.code}"
        return f"{self.argv[0]} {how}" + (f": {ran.last_line}" if ran.last_line else "")


class IdleTests:
    """`is_idle`: whether no lease is on a device; `visible`: what a program sees one by."""

    def __init__(
        self,
        watch: DeviceWatch,
        occupied: Occupied,
        test: OperatorTest | None,
        *,
        interval_s: float,
        is_idle: Callable[[str], bool],
        visible: Callable[[str], Mapping[str, str]],
    ) -> None:
        self._watch, self._occupied, self._program = watch, occupied, test
        self._interval_s, self._is_idle, self._visible = interval_s, is_idle, visible
        self._running: dict[str, asyncio.Task[str]] = {}

    @property
    def run_programs(self) -> bool:
        return self._program is not None

    async def keep(self) -> None:
        """Test until cancelled."""
        now_s = asyncio.get_running_loop().time
        due_s = now_s() + self._interval_s
        while True:
            busy = self._occupied.known or self._program is not None
            await asyncio.sleep(min(HELD_AGAIN_S if busy else AGAIN_S, self._interval_s))
            await self._look_at_held()
            if now_s() >= due_s:
                due_s = now_s() + self._interval_s
                for uuid in [device.uuid for device in self._watch.devices]:
                    await self._test(uuid)

    async def interrupt(self, uuids: Sequence[str]) -> None:
        """Nothing of the agent's own is on these once it returns."""
        tasks = [self._running[uuid] for uuid in uuids if uuid in self._running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_at_held(self) -> None:
        held = self._watch.held
        if not held or not self._occupied.known:
            return
        left = await self._occupied.look(held)
        for uuid in held:
            if uuid not in left:
                self._watch.let_go(uuid, MEMORY_HELD)

    async def _test(self, uuid: str) -> None:
        sick = {device.uuid for device in self._watch.devices if not device.healthy}
        if not self._is_idle(uuid) or uuid in sick - set(self._watch.held):
            return
        if await self._is_occupied(uuid) or self._program is None:
            return
        fault = ""
        for _ in range(STRIKES):
            fault = await self._run_program(uuid)
            if not fault:
                break
        if fault and self._is_idle(uuid):
            self._watch.hold(uuid, Fault(SANITY, fault))
        elif not fault:
            self._watch.let_go(uuid, SANITY)

    async def _is_occupied(self, uuid: str) -> bool:
        if not self._occupied.known:
            return False
        for strike in range(STRIKES):
            fault = (await self._occupied.look((uuid,))).get(uuid)
            if fault is None or not self._is_idle(uuid):
                return fault is not None
            if strike + 1 < STRIKES:
                await asyncio.sleep(STRIKE_AGAIN_S)
            elif fault.code == MEMORY_HELD:
                self._watch.hold(uuid, fault)
            else:
                self._watch.look_soon()
        return True

    async def _run_program(self, uuid: str) -> str:
        if self._program is None or not self._is_idle(uuid):
            return ""
        task = asyncio.ensure_future(self._program.fault(uuid, self._visible(uuid)))
        self._running[uuid] = task
        try:
            await asyncio.wait((task,))
            return "" if task.cancelled() else task.result()
        finally:
            del self._running[uuid]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
