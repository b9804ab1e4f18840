"""What happens to bytes between a host and a broker?

A TCP proxy on the bridge: each link (one host, one broker) passes on, delays, thins out or holds
back what goes up or down, and resets its connections, on request. It does not know what the bytes
mean.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

import msgspec

CHUNK_BYTES = 64 * 1024
QUEUED_BYTES_MAX = 4 * 1024 * 1024
"""So much lies between the two ends; then the sender feels it."""
CONNECT_TIMEOUT_S = 2.0


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """`stalled`: of the directions `up` (host to broker) and `down`, those in which nothing moves.
    `bytes_per_s` None = as fast as it goes."""

    delay_s: float = 0.0
    stalled: frozenset[str] = frozenset()
    bytes_per_s: int | None = None


GOOD = Condition()


class Link:
    """Listens for one host and connects to one broker."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.port = 0
        self._target = target
        self._condition = GOOD
        self._changed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self, address: str) -> None:
        self._server = await asyncio.start_server(self._serve, address, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def set(self, condition: Condition) -> None:
        self._condition = condition
        self._changed.set()
        self._changed = asyncio.Event()

    def reset(self) -> None:
        """Breaks every connection with a RST."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.reset()
        if self._serving:
            await asyncio.wait(self._serving)

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._connect(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        far: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                far_reader, far = await asyncio.open_connection(*self._target)
            self._writers.add(far)
            await self._carry(reader, writer, far_reader, far)
        except (OSError, TimeoutError):
            pass  # the broker is away: the host sees its connection end
        finally:
            for one in (writer, far):
                if one is not None:
                    self._writers.discard(one)
                    one.transport.abort()
                    with suppress(OSError):
                        await one.wait_closed()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far: asyncio.StreamWriter,
    ) -> None:
        """Until either end is over."""
        directions = (
            Direction(self, "up", reader, far),
            Direction(self, "down", far_reader, writer),
        )
        tasks = [asyncio.ensure_future(work) for d in directions for work in (d.take(), d.give())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def passable(self, name: str) -> Condition:
        while name in self._condition.stalled:
            await self._changed.wait()
        return self._condition

    @property
    def condition(self) -> Condition:
        return self._condition


class Direction:
    """One way of one connection: a queue whose chunks are due after the delay."""

    def __init__(
        self, link: Link, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._link, self._name, self._reader, self._writer = link, name, reader, writer
        self._queue: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._moved = asyncio.Event()

    async def take(self) -> None:
        with suppress(OSError):
            while data := await self._reader.read(CHUNK_BYTES):
                due = asyncio.get_running_loop().time() + self._link.condition.delay_s
                self._queue.append((due, data))
                self._bytes += len(data)
                self._signal()
                while self._bytes > QUEUED_BYTES_MAX:
                    await self._moved.wait()
        while self._queue:
            await self._moved.wait()

    async def give(self) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while True:
                while not self._queue:
                    await self._moved.wait()
                due, data = self._queue[0]
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                condition = await self._link.passable(self._name)
                self._writer.write(data)
                await self._writer.drain()
                if condition.bytes_per_s is not None:
                    await asyncio.sleep(len(data) / condition.bytes_per_s)
                self._queue.popleft()
                self._bytes -= len(data)
                self._signal()

    def _signal(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
