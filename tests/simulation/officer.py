"""How does somebody who runs the mesh give an order, whatever becomes of the mesh meanwhile?

Connects until that works, orders until an answer comes or he loses patience. It does not know what
is ordered.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, TypeVar

import msgspec

from penstock_bus.memory import connect
from penstock_bus.port import Bus, Outage
from penstock_client.failures import Refused, Unavailable
from penstock_client.questions import QUERY_TIMEOUT_S, ask_on
from penstock_contracts.ids import ulid
from penstock_contracts.registry import BY_NAME
from tests.simulation.broker import ObservedBroker
from tests.simulation.kernel import Kernel

RETRY_S = 4.0
UNAVAILABLE = "unavailable"
T = TypeVar("T", bound=msgspec.Struct)


class Officer:
    """`name`: of his client at the broker."""

    def __init__(
        self, kernel: Kernel, broker: ObservedBroker, name: str, rng: random.Random
    ) -> None:
        self._kernel, self._broker, self._name, self._rng = kernel, broker, name, rng

    async def connect(self) -> Bus:
        while True:
            try:
                return await connect(self._broker, name=self._name)
            except Outage:
                await asyncio.sleep(RETRY_S)

    async def order(self, bus: Bus, service: str, what: str, command: Any) -> str:
        """`done`, or why it was refused; empty: nobody knows."""
        subject = BY_NAME[f"command_{service}_{what}"].template
        try:
            await ask_on(bus, subject, service, command, msgspec.Raw, QUERY_TIMEOUT_S)
        except Refused as error:
            return "" if error.refusal.code == UNAVAILABLE else error.refusal.code
        except (Unavailable, Outage):
            return ""
        return "done"

    async def insist(
        self, bus: Bus, service: str, what: str, command: Any, *, tries: int | None = None
    ) -> str:
        """The same until it is known, or so many times."""
        told = await self.order(bus, service, what, command)
        while not told and tries != 1:
            tries = tries - 1 if tries is not None else None
            await asyncio.sleep(RETRY_S)
            told = await self.order(bus, service, what, command)
        return told

    def keyed(self, command: T) -> T:
        """With a key of its own."""
        key = ulid(self._kernel.now_ns // 1_000_000, self._rng.getrandbits(80))
        return msgspec.structs.replace(command, key=key)
