"""How are requests let in and brought to their operation?

Routes from the table of operations, the bearer token, the size limit, errors, health and metrics.
It does not know what operations do.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import msgspec
from aiohttp import web

from penstock_client.client import Client
from penstock_client.failures import refuse
from penstock_gateway.errors import Handler, error_middleware
from penstock_gateway.handlers import Handlers
from penstock_gateway.openapi import openapi_document
from penstock_gateway.operations import OPERATIONS
from penstock_runtime.metrics import CONTENT_TYPE, Metric, Metrics

REQUEST_BYTES_MAX = 1024 * 1024
PROTECTED = "/v1/"


def make_app(client: Client, *, token: str | None) -> web.Application:
    """The whole HTTP side around one client. `token` None = /v1 is open."""
    counters: Counter[str] = Counter()
    app = web.Application(
        middlewares=[error_middleware(counters), _token_middleware(token)],
        client_max_size=REQUEST_BYTES_MAX,
    )
    handlers = Handlers(client)
    for operation in OPERATIONS:
        handler = getattr(handlers, operation.name)
        app.router.add_route(operation.method, operation.path, handler)
    _add_pages(app, client, counters)
    return app


def _token_middleware(token: str | None) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Asks for `Authorization: Bearer <token>` on /v1, compared in constant time."""
    wanted = None if token is None else f"Bearer {token}".encode()

    @web.middleware
    async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
        if wanted is not None and request.path.startswith(PROTECTED):
            given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(given, wanted):
                raise refuse("unauthorized", "the bearer token is missing or wrong")
        return await handler(request)

    return authorize


def _add_pages(app: web.Application, client: Client, counters: Counter[str]) -> None:
    metrics = Metrics()
    metrics.add(lambda: _metrics(counters, client))
    document = msgspec.json.encode(openapi_document())

    async def openapi(request: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    async def healthz(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        if client.bus.connected:
            return web.Response(text="ready\n")
        return web.Response(text="not connected to the broker\n", status=503)

    async def show_metrics(request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    app.router.add_get("/openapi.json", openapi)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", show_metrics)


def _metrics(counters: Counter[str], client: Client) -> Iterator[Metric]:
    for status, count in sorted(counters.items()):
        yield Metric(
            "penstock_gateway_requests",
            "counter",
            "Requests answered since the start, by status.",
            count,
            {"status": status},
        )
    for kind, count in sorted(client.bus.counters.items()):
        yield Metric(
            "penstock_gateway_bus_events",
            "counter",
            "What went wrong on the bus since the start, by kind.",
            count,
            {"kind": kind},
        )
