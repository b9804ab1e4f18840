"""How does a tenant reach the gateway when there are no sockets?

One HTTP/1.1 exchange per connection over a pair of in-memory transports: aiohttp's own server on
one side, a minimal client on the other. It does not know what is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

from aiohttp import web

TIMEOUT_S = 30.0


class Unreachable(Exception):
    """No whole answer came: whether the request was carried out is not known."""


class Door:
    """Where the gateway of the moment listens. `open` and `shut` are the gateway's, `ask` is the
    tenant's."""

    def __init__(self) -> None:
        self._server: Callable[[], asyncio.Protocol] | None = None
        self._context: Context | None = None

    def open(self, server: Any) -> None:
        self._server, self._context = server, copy_context()

    def shut(self) -> None:
        self._server = None

    async def ask(self, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body. Raises Unreachable."""
        loop = asyncio.get_running_loop()
        server, context = self._server, self._context
        if server is None or context is None:
            raise Unreachable("nobody listens")
        head = f"{method} {target} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n"
        request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        answer: asyncio.Future[bytes] = loop.create_future()
        near = copy_context()

        def connect() -> None:
            protocol = server()
            protocol.connection_made(_Transport(answer, near))
            protocol.data_received(request)

        loop.call_soon(connect, context=context)
        try:
            return _parse(await asyncio.wait_for(answer, TIMEOUT_S))
        except TimeoutError:
            raise Unreachable("no answer in time") from None


class _Transport(asyncio.Transport):
    """The gateway's end: what it writes is the tenant's answer once it closes."""

    def __init__(self, answer: asyncio.Future[bytes], near: Context) -> None:
        super().__init__()
        self._answer, self._near = answer, near
        self._written = b""
        self._closed = False

    def write(self, data: Any) -> None:
        self._written += bytes(data)

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._hand_over, context=self._near)

    abort = close

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return

    def _hand_over(self) -> None:
        if not self._answer.done():
            self._answer.set_result(self._written)


def _parse(answer: bytes) -> tuple[int, bytes]:
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        raise Unreachable("the connection was closed")
    return int(head.split()[1]), body


async def serve(app: web.Application, door: Door, until: Callable[[], Any]) -> None:
    """Be the gateway's HTTP side until `until()` returns."""
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    door.open(runner.server)
    try:
        await until()
    finally:
        door.shut()
