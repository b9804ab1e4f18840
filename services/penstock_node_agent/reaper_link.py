"""How does the agent talk with its reaper?

Keeps one connection for ever: connects, starts a reaper when none listens, turns its lines into
events. Requests of one loop turn leave in one write. It does not know what events mean, nor where
the reaper is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

import msgspec

from penstock_contracts.errors import InvariantError
from penstock_node_agent.core.events import Began, Ended, Gone, ReaperReady, SegmentsCut
from penstock_node_agent.host import ReaperDoor
from penstock_node_agent.reaper_package import ReaperDidNotStart
from penstock_runtime.clock import Clock

RETRY_S = 0.2
READY_ITEMS_ONCE = 4
"""A reaper of an older version, which outlives an upgrade, does not say what it can do."""
READY_S_MAX = 15.0
"""A reaper that takes over first kills what its predecessor left."""

log = logging.getLogger(__name__)
_decode = msgspec.json.Decoder(list[Any]).decode
_encoder = msgspec.json.Encoder()

ReaperEvent = Began | Ended | Gone | ReaperReady | SegmentsCut


class ReaperLink(asyncio.Protocol):
    """Who is attached hears each event in order, ReaperReady last of all that was before."""

    def __init__(self, door: ReaperDoor, clock: Clock) -> None:
        self._door, self._clock = door, clock
        self._on_event: Callable[[ReaperEvent], None] = _unheard
        self._transport: asyncio.Transport | None = None
        self._unread = b""
        self._requests: list[bytes] = []
        self._lost = asyncio.Event()
        self._made = asyncio.Event()
        self._leaving = self._retiring = False
        self._code = ""
        self.pid: int | None = None
        self.restarts = 0

    def attach(self, on_event: Callable[[ReaperEvent], None]) -> None:
        self._on_event = on_event

    @property
    def connected(self) -> bool:
        return self._transport is not None

    @property
    def outdated(self) -> bool:
        """Whether a reaper that was started now would have other code."""
        return bool(self._code and self._door.code and self._code != self._door.code)

    def retire(self) -> None:
        """Have a reaper without work end; what is sent meanwhile is for the next one."""
        log.info("a reaper of another version is replaced")
        self.send(op="leave")
        self.flush()
        self._retiring, self._code = True, ""

    async def keep(self) -> None:
        """Hold the connection until cancelled."""
        try:
            while not self._leaving:
                try:
                    await self._connect()
                except (OSError, TimeoutError, ReaperDidNotStart) as error:
                    log.error("no reaper: %s", error)
                    await asyncio.sleep(RETRY_S)
                    continue
                await self._lost.wait()
                if self._leaving:
                    return
                log.warning("the reaper is gone")
        finally:
            self.close()

    async def _connect(self) -> None:
        self._lost.clear()
        try:
            await self._door.connect(self)
        except (ConnectionRefusedError, FileNotFoundError):
            self.restarts += 1
            await self._door.start()
            await self._door.connect(self)

    def send(self, **request: Any) -> None:
        """Line a request up; `flush` sends. Without a connection it is dropped: ReaperReady
        repairs."""
        if self._transport is not None and not self._retiring:
            self._requests.append(_encoder.encode(request))

    def flush(self) -> None:
        if self._requests and self._transport is not None:
            self._requests.append(b"")
            self._transport.write(b"\n".join(self._requests))
        self._requests.clear()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def leave(self, timeout_s: float) -> None:
        """Have the reaper stop all work and end; returns when it has, or after `timeout_s`."""
        self._leaving = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._made.wait()
                self.send(op="leave")
                self.flush()
                await self._lost.wait()
        except TimeoutError:
            log.error("the reaper has not ended")

    # -- asyncio.Protocol ----------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._unread = b""
        self._requests.clear()
        self._made.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self.pid, self._retiring = None, False
        self._made.clear()
        self._lost.set()

    def data_received(self, data: bytes) -> None:
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._take(_decode(line))

    def _take(self, line: list[Any]) -> None:
        kind, key = line[0], line[1]
        if kind == "began":
            self._on_event(Began(key=key, at_ns=line[2]))
        elif kind == "ended":
            self._on_event(
                Ended(
                    key=key,
                    at_ns=line[2],
                    code=line[3],
                    signal=line[4],
                    reason=line[5],
                    message=line[6],
                    out_bytes=line[7],
                    err_bytes=line[8],
                    gone_ns=line[9],
                )
            )
        elif kind == "gone":
            self._on_event(Gone(key=key, at_ns=line[2]))
        elif kind == "marked":
            self._on_event(SegmentsCut(at_ns=line[2]))
        elif kind == "ready":
            self.pid = line[2]
            now = self._clock.boottime_ns()
            can = line[4] if len(line) > READY_ITEMS_ONCE else {}
            self._code = can.get("code", "")
            self._on_event(
                ReaperReady(
                    at_ns=now,
                    keys=tuple(line[3]),
                    offers=tuple(can.get("offers", ())),
                    facts=can.get("facts", {}),
                )
            )


def _unheard(event: ReaperEvent) -> None:
    raise InvariantError(f"nobody hears the reaper's {event}")
