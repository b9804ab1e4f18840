"""How does a world run hours in moments, the same way each time?

An event loop on virtual time: it jumps to the next timer when nothing is ready, and every callback
belongs to the simulated process in whose context it was made. It does not know sockets or threads.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.kernel import Process

PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
"""Whose code runs now; None: the world's own."""

WINDOW_S = 60.0
STEPS_IN_WINDOW_MAX = 250_000
"""Far beyond what a busy world needs: somebody tries something again and again."""
STEPS_WATCHED = 10_000
BUSIEST_SHOWN = 5


class Spinning(Exception):
    """Time stands still, or nearly, and says who is so busy."""


class Handle:
    """A callback to come; asyncio only asks to cancel it."""

    __slots__ = ("args", "callback", "context", "when_s")

    def __init__(
        self, callback: Callable[..., object], args: Any, context: Context, when_s: float
    ) -> None:
        self.callback: Callable[..., object] | None = callback
        self.args, self.context, self.when_s = args, context, when_s

    def cancel(self) -> None:
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return self.when_s

    def who(self) -> str:
        """Its process and function, for a person."""
        process = self.context.get(PROCESS)
        owner = getattr(self.callback, "__self__", None)
        what = owner.get_coro() if isinstance(owner, Task) else self.callback
        name = getattr(what, "__qualname__", type(what).__name__)
        return f"{process.name if process is not None else 'the world'}: {name}"


class Task(asyncio.Task[Any]):
    """Sets of tasks keep the order of their making: a task's address would differ in each run."""

    _made = 0

    def __init__(
        self, coro: Coroutine[Any, Any, Any], *, context: Context, loop: Any, name: str | None
    ) -> None:
        Task._made += 1
        self.number = Task._made
        self.context = context
        super().__init__(coro, loop=loop, name=name, context=context)

    def __hash__(self) -> int:
        return self.number


class VirtualLoop(asyncio.AbstractEventLoop):
    """`on_error` hears of exceptions that nobody took."""

    def __init__(self, on_error: Callable[[dict[str, Any]], None]) -> None:
        self._now_s = 0.0
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[float, int, Handle]] = []
        self._serial = 0
        self._on_error = on_error
        self._stopping = False
        self._window_s = 0.0
        self._window_steps = 0  # what `steps` was when the window began
        self.steps = 0

    # -- what asyncio asks of a loop -----------------------------------------------------------
    def time(self) -> float:
        return self._now_s

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        handle = Handle(callback, args, copy_context() if context is None else context, self._now_s)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any,
        context: Context | None = None,
    ) -> Any:  # fmt: skip
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any,
        context: Context | None = None,
    ) -> Any:  # fmt: skip
        handle = Handle(callback, args, copy_context() if context is None else context, when)
        self._serial += 1
        heapq.heappush(self._timers, (when, self._serial, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None
    ) -> Any:
        return Task(
            coro, loop=self, name=name, context=copy_context() if context is None else context
        )

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """Threads would not be repeatable: the work is done here and now, its result comes in a
        later step."""
        future = self.create_future()
        try:
            result = func(*args)
        except Exception as error:  # noqa: BLE001 - told as the loop of a process would
            self.call_soon(self._settle, future, None, error)
        else:
            self.call_soon(self._settle, future, result, None)
        return future

    @staticmethod
    def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._on_error(context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    # -- running -------------------------------------------------------------------------------
    def run_until(self, done: Callable[[], bool], until_s: float) -> None:
        """Run until `done` or the loop's time has come to `until_s`. Raises Spinning."""
        asyncio._set_running_loop(self)
        try:
            while not done():
                if not self._ready and not self._advance(until_s):
                    return
                self._run_ready()
                if self.steps - self._window_steps > STEPS_IN_WINDOW_MAX:
                    self._check_window(until_s)
        finally:
            asyncio._set_running_loop(None)

    def _check_window(self, until_s: float) -> None:
        if self._now_s - self._window_s >= WINDOW_S:
            self._window_s, self._window_steps = self._now_s, self.steps
            return
        steps, busy = self.steps, Counter[str]()
        while self.steps < steps + STEPS_WATCHED and (self._ready or self._advance(until_s)):
            busy.update(handle.who() for handle in self._ready if not handle.cancelled())
            self._run_ready()
        raise Spinning(
            f"{self.steps - self._window_steps} steps from {self._window_s:.6f} s to "
            f"{self._now_s:.6f} s; the busiest of the last {self.steps - steps}: "
            + ", ".join(f"{who} ({times})" for who, times in busy.most_common(BUSIEST_SHOWN))
        )

    def _advance(self, until_s: float) -> bool:
        """Move to the next timer's time and make what is due ready."""
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        if not timers or timers[0][0] > until_s:
            self._now_s = until_s
            return False
        self._now_s = now = max(self._now_s, timers[0][0])
        while timers and timers[0][0] <= now:
            self._ready.append(heapq.heappop(timers)[2])
        return True

    def _run_ready(self) -> None:
        ready = self._ready
        for _ in range(len(ready)):
            handle = ready.popleft()
            callback = handle.callback
            if callback is None:
                continue
            process = handle.context.get(PROCESS)
            if process is not None and not process.may_run(handle):
                continue
            self.steps += 1
            try:
                handle.context.run(callback, *handle.args)
            except Exception as error:  # noqa: BLE001 - told as the loop of a process would
                context = {"message": "a callback failed", "exception": error}
                handle.context.run(self._on_error, context)

    def resume(self, handles: deque[Handle]) -> None:
        """What a process was asked to do while it was frozen."""
        self._ready.extend(handles)
