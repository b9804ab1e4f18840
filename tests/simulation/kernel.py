"""What is a process when all of a world runs in one?

Processes that start, end, crash, are killed at any await and are frozen, over one virtual-time
loop. A killed process runs nothing more, not even a `finally`. It does not know what they do.
"""

from __future__ import annotations

import asyncio
import ctypes
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any

from tests.simulation.loop import PROCESS, Handle, Task, VirtualLoop

EPOCH_NS = 1_767_224_100_000_000_000
"""The world's true time when it begins: 25 minutes before 2026, so that a month ends meanwhile."""
EXIT_KILLED = -9
EXIT_CRASHED = 1
CRASHES_MAX = 10
"""A world with so many has failed, and one with many more takes minutes to say so."""

_GRAVES: list[Any] = []
"""What the dead had suspended: collected, its `finally` blocks would run, so it never is."""
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_GRAVES))  # not even when the interpreter ends

Main = Callable[[], Coroutine[Any, Any, int | None]]


class Process:
    """`code` is None while it lives; `error` what it crashed of."""

    def __init__(
        self, kernel: Kernel, name: str, on_exit: Callable[[Process], None] | None
    ) -> None:
        self.kernel, self.name = kernel, name
        self.code: int | None = None
        self.error: BaseException | None = None
        self.frozen = False
        self.steps = 0
        self._kill_at: int | None = None
        self._held: deque[Handle] = deque()
        self._on_exit = on_exit
        self._on_death: list[Callable[[], None]] = []
        self.context: Context = copy_context()
        self.context.run(PROCESS.set, self)

    @property
    def alive(self) -> bool:
        return self.code is None

    def may_run(self, handle: Handle) -> bool:
        """Asked by the loop before each step."""
        if self.code is not None:
            return False
        if self.frozen:
            self._held.append(handle)
            return False
        self.steps += 1
        if self._kill_at is not None and self.steps >= self._kill_at:
            self.kill()
            return False
        return True

    def at_death(self, release: Callable[[], None]) -> None:
        """What the operating system does when the process is gone: close its connections."""
        self._on_death.append(release)

    def kill(self) -> None:
        """kill -9, now."""
        self._end(EXIT_KILLED, None)

    def kill_after(self, steps: int) -> None:
        """kill -9 before its n-th step from now: at any await."""
        self._kill_at = self.steps + steps

    def spare(self) -> None:
        """No kill is to come any more."""
        self._kill_at = None

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        """Everything that came due meanwhile runs now."""
        self.frozen = False
        held, self._held = self._held, deque()
        self.kernel.loop.resume(held)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if self.code is not None:
            return
        error = task.exception() if not task.cancelled() else asyncio.CancelledError()
        if error is not None:
            self._end(EXIT_CRASHED, error)
        else:
            self._end(task.result() or 0, None)

    def _end(self, code: int, error: BaseException | None) -> None:
        if self.code is not None:
            return
        self.code, self.error = code, error
        self.kernel.bury(self)
        self._held.clear()
        for release in self._on_death:
            release()
        if self._on_exit is not None:
            self.kernel.loop.call_soon(self._on_exit, self, context=self.kernel.context)


class Kernel:
    """One world's processes and its true time. `rng` is the only source of chance. `crashes`: ends
    of processes by an error of their own; `bugs`: callbacks that failed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.context = copy_context()
        self.loop = VirtualLoop(self._note_error)
        self.bugs: list[str] = []
        self.crashes: list[str] = []
        self._ids = 0

    @property
    def now_ns(self) -> int:
        return EPOCH_NS + round(self.loop.time() * 1e9)

    def has_failed(self) -> bool:
        """Whether so much has crashed that nothing more can be learned of this world."""
        return len(self.crashes) + len(self.bugs) >= CRASHES_MAX

    def new_id(self) -> str:
        """As a random id: different each time."""
        self._ids += 1
        return f"{self.rng.getrandbits(64):016x}{self._ids:08x}"

    def spawn(
        self, name: str, main: Main, on_exit: Callable[[Process], None] | None = None
    ) -> Process:
        """Start a process; `on_exit` is called once, in a later step, when it is gone."""
        process = Process(self, name, on_exit)

        def start() -> None:
            task = self.loop.create_task(main(), context=process.context)
            task.add_done_callback(process._ended, context=self.context)

        self.loop.call_soon(start, context=process.context)
        return process

    def bury(self, process: Process) -> None:
        """Keep what the dead had suspended."""
        for task in asyncio.all_tasks(self.loop):
            if isinstance(task, Task) and task.context.get(PROCESS) is process:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _GRAVES.append((task, task.get_coro()))

    def _note_error(self, context: dict[str, Any]) -> None:
        process = PROCESS.get()
        error = context.get("exception")
        where = process.name if process is not None else "the world"
        self.bugs.append(f"{where}: {context.get('message')}: {error!r}")
