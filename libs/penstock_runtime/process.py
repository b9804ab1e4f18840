"""How does a service process start and end?

`run_service` gives the service an event loop and a stop signal, and turns the way it ended into
an exit code. SIGTERM and SIGINT ask it to drain (also when SIGINT was ignored at start, as in a
shell's background job); whoever has not drained in time is ended hard, which is safe because
every service may be killed at any line. It does not know what draining means.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from penstock_contracts.errors import InvariantError
from penstock_runtime.config import ConfigError
from penstock_runtime.rubbish import only_when_swept, sweep_for_ever

DRAIN_S_MAX = 10.0
EXIT_OK = 0
EXIT_CRASHED = 1
EXIT_DRAIN_OVERRUN = 70
EXIT_STEPPED_DOWN = 75
"""Another instance has the journal: do not restart at once (sysexits EX_TEMPFAIL)."""

Main = Callable[["StopSignal"], Coroutine[Any, Any, int]]
"""A service: returns its exit code once it was asked to stop and has drained."""

log = logging.getLogger(__name__)


class StopSignal:
    """Set once, by a signal or by the service itself; never cleared."""

    def __init__(self, on_request: Callable[[], None] | None = None) -> None:
        self._event = asyncio.Event()
        self._on_request = on_request
        self.reason: str | None = None

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    def request(self, reason: str) -> None:
        """Ask the service to drain; the first reason stays."""
        if not self.requested:
            self.reason = reason
            self._event.set()
            if self._on_request is not None:
                self._on_request()

    async def wait(self) -> None:
        """Return once the stop was requested."""
        await self._event.wait()


def run_service(main: Main, name: str, *, drain_s: float = 0.0) -> int:
    """Run `main` until it returns its exit code; a service's command calls this as its last act.

    A stop request starts a drain of at most DRAIN_S_MAX, and `drain_s` more where a service waits
    for others; then the process ends with EXIT_DRAIN_OVERRUN. An exception that leaves `main` is a
    bug: it is logged and the code is EXIT_CRASHED. Errors of callbacks and forgotten tasks are
    logged; an InvariantError among them ends the process too.
    """
    drain_s += DRAIN_S_MAX
    watchdog = threading.Timer(drain_s, _exit_hard, args=(name, drain_s))
    watchdog.daemon = True
    try:
        with only_when_swept(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_run(main, name, watchdog))
    except ConfigError as error:  # what only a try could find out: a taken address, a lost file
        log.error("%s", error.message)
        return error.exit_code
    except (Exception, asyncio.CancelledError):  # the one place where a crash becomes an exit code
        log.critical("%s crashed", name, exc_info=True)
        return EXIT_CRASHED
    finally:
        watchdog.cancel()


async def _run(main: Main, name: str, watchdog: threading.Timer) -> int:
    stop = StopSignal(on_request=watchdog.start)
    loop = asyncio.get_running_loop()
    running = loop.create_task(main(stop))
    sweeping = loop.create_task(sweep_for_ever())
    bugs: list[BaseException] = []

    def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        log.error("event loop: %s", context.get("message"), exc_info=error)
        if isinstance(error, InvariantError):
            bugs.append(error)
            running.cancel()

    def request(number: signal.Signals) -> None:
        if stop.requested:
            return  # a terminal and a supervisor may both ask; the drain goes on
        log.info("%s drains", name, extra={"signal": number.name})
        stop.request(number.name)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, request, number)
    loop.set_exception_handler(report)
    try:
        code = await running
    except asyncio.CancelledError:
        if bugs:
            raise bugs[0] from None
        raise
    finally:
        sweeping.cancel()
        stop.request("main has ended")  # what is left to cancel is bounded by the watchdog too
    log.info("%s ends", name, extra={"exit_code": code})
    return code


def _exit_hard(name: str, drain_s: float) -> None:
    log.error("%s did not drain within %g s", name, drain_s)
    os._exit(EXIT_DRAIN_OVERRUN)
