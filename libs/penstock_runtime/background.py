"""What runs beside a service's loop?

Tasks that live as long as the service; the failure of one is kept, so that the loop ends with it
instead of going on without its help. It does not know what they do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Background:
    """`failure` is the first error of any of the tasks, or one that was reported."""

    def __init__(self, on_failure: Callable[[], None]) -> None:
        self.failure: BaseException | None = None
        self._on_failure = on_failure
        self._tasks: list[asyncio.Task[None]] = []

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` until `end`."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._note_end)
        self._tasks.append(task)
        return task

    def fail(self, error: BaseException) -> None:
        """Have the service end with this error."""
        if self.failure is None:
            self.failure = error
        self._on_failure()

    async def end(self) -> None:
        """Cancel what still runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)
