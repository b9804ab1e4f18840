"""Where does blocking work run?

In production each kind on a thread of its own; in tests and simulation inline, so that nothing
races virtual time. It does not know what runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Run(Protocol):
    async def __call__(self, work: Callable[..., T], *arguments: Any) -> T: ...


class OneThread:
    """Runs one piece of work at a time, in order."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def __call__(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    def close(self) -> None:
        """Waits for what runs."""
        self._pool.shutdown(wait=True, cancel_futures=True)


async def run_inline(work: Callable[..., T], *arguments: Any) -> T:
    """Runs it here and now."""
    return work(*arguments)
