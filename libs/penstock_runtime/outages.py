"""How is an outage of the broker waited out?

By asking again what may be asked twice, until it is answered or the process is to stop. It does
not know what is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from penstock_bus.port import Outage

T = TypeVar("T")

RETRY_S = 0.1


class Stopping(Exception):
    """The process was asked to stop while the broker did not answer."""


async def until_answered(ask: Callable[[], Awaitable[T]], stopping: Callable[[], bool]) -> T:
    """Repeat an idempotent question to the broker through an outage; raises Stopping."""
    while True:
        try:
            return await ask()
        except Outage as error:
            if stopping():
                raise Stopping(str(error)) from error
        await asyncio.sleep(RETRY_S)
