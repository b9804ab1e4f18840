"""What does an instance do before it works?

While another one leads, it follows the journal, so that its turn begins with little left to fold,
and waits for the lock; then it recovers, unless it is stopped. It does not know how any of it is
done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from penstock_runtime.leadership import Leadership
from penstock_runtime.outages import Stopping


async def stand_by(
    leadership: Leadership,
    follow: Callable[[], Awaitable[None]],
    *,
    stopping: Callable[[], bool],
    delay_s: float,
) -> bool:
    """Follow until the lock is ours; False when asked to stop before. Raises what ends `follow`: an
    instance that cannot fold the journal is no standby. Whoever finds the lock free within
    `delay_s` does not begin to follow."""

    async def follow_soon() -> None:
        await asyncio.sleep(delay_s)
        await follow()

    leading = asyncio.ensure_future(leadership.acquire(stopping))
    following = asyncio.ensure_future(follow_soon())
    try:
        await asyncio.wait({leading, following}, return_when=asyncio.FIRST_COMPLETED)
        if not leading.done():
            following.result()
        return await leading
    finally:
        for task in (leading, following):
            task.cancel()
        await asyncio.gather(leading, following, return_exceptions=True)


async def unless_stopped(work: Coroutine[Any, Any, None], stopping: asyncio.Task[None]) -> None:
    """Finish `work`; raises Stopping when the stop was requested before (a replay waits for the
    broker)."""
    starting = asyncio.ensure_future(work)
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        raise Stopping("asked to stop while recovering")
    starting.result()
