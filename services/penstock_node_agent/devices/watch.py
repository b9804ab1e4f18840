"""When are the devices looked at, and who hears of it?

Every few seconds, soon after work has failed, and again at once while a look leaves doubt; errors
that the driver tells by itself count when they are told. What is seen is judged in `core.devices`.
It does not know what follows from it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from penstock_contracts.nodes import Device
from penstock_node_agent.core.devices import Fault, Looks
from penstock_node_agent.core.xids import sentence
from penstock_node_agent.drivers.port import DeviceDriver, DriverSilent, Vitals, Xid
from penstock_runtime.clock import Clock

AGAIN_S = 1.0
"""Between two looks at least, however much fails."""

Tell = Callable[[tuple[Device, ...]], None]
Note = Callable[[str, str], None]
"""A device and what its driver has said of it."""

log = logging.getLogger(__name__)


class DeviceWatch:
    """`first`: what the driver has found when the agent started; `before`: what an agent of this
    boot has said of its devices."""

    def __init__(
        self,
        driver: DeviceDriver,
        clock: Clock,
        first: Sequence[Device],
        interval_s: float,
        before: Mapping[str, Device] | None = None,
    ) -> None:
        self._driver, self._clock, self._interval_s = driver, clock, interval_s
        self._looks = Looks(first, clock.boottime_ns(), before)
        self._wanted = asyncio.Event()
        self._last: Xid | None = None
        self._tell: Tell = _nobody
        self._note: Note = _nobody

    @property
    def devices(self) -> tuple[Device, ...]:
        """What is to be said of them now."""
        return self._looks.said()

    @property
    def held(self) -> tuple[str, ...]:
        return self._looks.held

    def look_soon(self) -> None:
        self._wanted.set()

    async def keep(self, tell: Tell, note: Note | None = None) -> None:
        """Look and listen until cancelled; `tell` what is to be said of the devices whenever that
        may have changed, `note` every error that the driver has told."""
        self._tell, self._note = tell, note or _nobody
        loop = asyncio.get_running_loop()
        listening = self._driver.listen(lambda xid: _hand_over(loop, self._hear, xid))
        try:
            while True:
                await self._pause()
                await self._look()
        finally:
            self._tell = self._note = _nobody
            listening.close()

    def hold(self, uuid: str, fault: Fault) -> None:
        """Who has checked it keeps it from use."""
        if uuid not in self.held:
            log.error("device %s is held back: %s", uuid, fault.reason)
        self._tell(self._looks.hold(uuid, fault))

    def let_go(self, uuid: str, code: str) -> None:
        self._tell(self._looks.let_go(uuid, code))

    def trust(self, uuids: Sequence[str]) -> None:
        """An operator vouches for these."""
        self._tell(self._looks.trust(uuids))

    async def _pause(self) -> None:
        await asyncio.sleep(AGAIN_S)
        if not self._looks.in_doubt:
            with suppress(TimeoutError):  # wait_for loses a cancellation that meets the event
                async with asyncio.timeout(self._interval_s):
                    await self._wanted.wait()
        self._wanted.clear()

    async def _look(self) -> None:
        try:
            seen, vitals = await asyncio.to_thread(self._ask)
        except DriverSilent as error:  # unknown is not gone
            log.error("the devices cannot be looked at: %s", error)
            return
        self._tell(self._looks.look(seen, self._clock.boottime_ns(), vitals))

    def _ask(self) -> tuple[tuple[Device, ...], dict[str, Vitals]]:
        seen = self._driver.discover()
        return seen, {vitals.uuid: vitals for vitals in self._driver.vitals()}

    def _hear(self, xid: Xid) -> None:
        said = sentence(xid.code)
        if xid != self._last:  # a program in error may cause thousands
            log.warning("device %s: %s", xid.uuid, said)
        self._last = xid
        self._note(xid.uuid, said)
        self._tell(self._looks.hear(xid.uuid, xid.code, self._clock.boottime_ns()))
        self.look_soon()


def _hand_over(loop: asyncio.AbstractEventLoop, hear: Callable[[Xid], None], xid: Xid) -> None:
    with suppress(RuntimeError):  # the agent has ended
        loop.call_soon_threadsafe(hear, xid)


def _nobody(*_: object) -> None:
    return None
