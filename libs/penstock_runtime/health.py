"""How does the outside see whether this process lives and works?

A minimal HTTP/1.1 server on the service's own port: `/healthz` (the event loop turns), `/readyz`
(the service answers; 503 with the reason otherwise) and `/metrics`. Bare asyncio streams, since
an agent must stay small. It does not know what readiness means: the service says so by a
function.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

from penstock_runtime.config import ConfigError
from penstock_runtime.metrics import CONTENT_TYPE, Metrics

REQUEST_BYTES_MAX = 8 * 1024
REQUEST_S_MAX = 5.0
CONNECTIONS_MAX = 32

WhyNot = Callable[[], str | None]
"""Answers None for yes, else the reason for no in one sentence."""

_Response = tuple[HTTPStatus, str, bytes]


class Health:
    """Serves the three pages until `stop`; `why_not_ready` is asked at each request."""

    def __init__(self, *, why_not_ready: WhyNot, metrics: Metrics | None = None) -> None:
        self.metrics = metrics if metrics is not None else Metrics()
        self._why_not_ready = why_not_ready
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def start(
        self,
        host: str,
        port: int | None,
        *,
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
    ) -> int | None:
        """Listen and return the port really bound (for 0 a free one); None = off, nothing listens.

        With a certificate it speaks HTTPS only. Raises OSError when the address is taken or the
        certificate cannot be read, ConfigError for an address of the network without certificate.
        """
        if port is None:
            return None
        tls = None
        if tls_cert is not None:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(tls_cert, tls_key)
        elif not _is_loopback(host):
            raise ConfigError(f"setting http_host is {host}, not loopback: tls_cert must be set")
        self._server = await asyncio.start_server(
            self._serve, host, port, limit=REQUEST_BYTES_MAX, ssl=tls
        )
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Close the port and what is still connected; safe to repeat."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for writer in self._connections.values():
            writer.transport.abort()
        while self._connections:
            await asyncio.wait([task for task in self._connections if task is not None])
        await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close: scrapers reconnect, and no idle connection is kept."""
        if len(self._connections) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        self._connections[task] = writer
        try:
            async with asyncio.timeout(REQUEST_S_MAX):
                head = await reader.readuntil(b"\r\n\r\n")
                method, _, rest = head.decode("latin-1").partition(" ")
                response = self._answer(method, rest.partition(" ")[0].partition("?")[0])
                writer.write(_encode(method, response))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the asker left, stalled or sent no HTTP: there is nobody to answer
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            del self._connections[task]

    def _answer(self, method: str, path: str) -> _Response:
        if method not in ("GET", "HEAD"):
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD")
        if path == "/healthz":
            return _text(HTTPStatus.OK, "ok")
        if path == "/readyz":
            reason = self._why_not_ready()
            if reason is None:
                return _text(HTTPStatus.OK, "ready")
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        if path == "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE, self.metrics.render()
        return _text(HTTPStatus.NOT_FOUND, "try /healthz, /readyz or /metrics")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _text(status: HTTPStatus, sentence: str) -> _Response:
    return status, "text/plain; charset=utf-8", sentence.encode() + b"\n"


def _encode(method: str, response: _Response) -> bytes:
    status, content_type, body = response
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (b"" if method == "HEAD" else body)
