"""How does a simulated agent reach the reaper of its host?

The connection between the two as a Unix socket behaves: a listener with a backlog, bytes that
outlive their sender, an end of file when one side is gone. It does not know what is said.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextvars import copy_context
from typing import Any

from tests.simulation.kernel import Kernel
from tests.simulation.loop import PROCESS


class Wire(asyncio.Transport):
    """One connection; to the agent's protocol it is the transport. `unread`: what the reaper has
    not read yet. `deaf`: the reaper's side is closed, `left`: the agent's."""

    def __init__(self, kernel: Kernel, link: asyncio.Protocol, channel: SimulatedChannel) -> None:
        super().__init__()
        self.unread = b""
        self.left = self.deaf = False
        self._loop, self._link, self._channel = kernel.loop, link, channel
        self._context = copy_context()
        process = PROCESS.get()
        if process is not None:
            process.at_death(self._leave)

    # -- the agent's side ----------------------------------------------------------------------
    def write(self, data: Any) -> None:
        if not (self.left or self.deaf):
            self.unread += bytes(data)
            self._channel.wake()

    def abort(self) -> None:
        if not (self.left or self.deaf):
            self._loop.call_soon(self._link.connection_lost, None, context=self._context)
        self._leave()

    close = abort

    def _leave(self) -> None:
        self.left = True
        self._channel.wake()

    # -- the reaper's side ---------------------------------------------------------------------
    def send(self, data: bytes) -> None:
        self._loop.call_soon(self._link.data_received, data, context=self._context)

    def hang_up(self) -> None:
        if not (self.left or self.deaf):
            self.deaf = True
            self._loop.call_soon(self._link.connection_lost, None, context=self._context)


class SimulatedChannel:
    """The reaper's port to its agent, in one life of the reaper. Instead of `wait`, which would
    stop the world, its main awaits `pause`."""

    def __init__(self, kernel: Kernel) -> None:
        self.accepting = True
        self._kernel = kernel
        self._backlog: deque[Wire] = deque()
        self._agent: Wire | None = None
        self._unread = b""
        self._may_accept = False
        self._woken = False
        self._sleeper: asyncio.Future[None] | None = None

    def connect(self, link: asyncio.Protocol) -> Wire:
        """For the agent: the connection stands at once, whether the reaper looks at it or not."""
        wire = Wire(self._kernel, link, self)
        self._backlog.append(wire)
        self.wake()
        return wire

    def wake(self) -> None:
        """As a signal, or something to read."""
        self._woken = True
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    async def pause(self, timeout_ms: int | None) -> None:
        if timeout_ms == 0 or self._woken or (self.accepting and self._backlog):
            await asyncio.sleep(0)
        else:
            loop = asyncio.get_running_loop()
            self._sleeper = loop.create_future()
            timer = None
            if timeout_ms is not None:
                timer = loop.call_later(timeout_ms / 1000, self.wake)
            await self._sleeper
            self._sleeper = None
            if timer is not None:
                timer.cancel()
        self._woken = False
        self._may_accept = self.accepting and bool(self._backlog)

    # -- the reaper's port ---------------------------------------------------------------------
    def accept(self) -> bool:
        if not self._may_accept:
            return False
        self._drop()
        self._agent = self._backlog.popleft()
        if self._agent.unread or self._agent.left:
            self.wake()  # there is more to look at
        return True

    def read(self) -> list[dict[str, Any]]:
        agent = self._agent
        if agent is None:
            return []
        data, agent.unread = agent.unread, b""
        if agent.left and not data:
            self._drop()
            return []
        if agent.left:
            self.wake()  # the end of file is still to be read
        *lines, self._unread = (self._unread + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def send(self, data: bytes = b"") -> None:
        if self._agent is None or not data:
            return
        if self._agent.left:
            self._drop()
        else:
            self._agent.send(data)

    def close(self) -> None:
        """Also as the operating system does when the reaper is gone."""
        self._drop()
        for wire in self._backlog:
            wire.hang_up()
        self._backlog.clear()

    def _drop(self) -> None:
        if self._agent is not None:
            self._agent.hang_up()
        self._agent, self._unread = None, b""
