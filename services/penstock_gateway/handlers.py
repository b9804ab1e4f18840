"""How is each operation of the API done?

One method per operation of the table, named after it: read the request, ask the client, encode. It
does not know authorisation, errors or how services work.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from aiohttp import web

from penstock_client.bill_page import bills_page
from penstock_client.billing import bills, job_account
from penstock_client.client import Client
from penstock_client.durations import parse_instant_ms
from penstock_client.failures import Unavailable, refuse
from penstock_client.queueing import held_policy, queue, set_policy
from penstock_client.submission import Submitted, packed
from penstock_client.ulids import new_job_id
from penstock_contracts.bills import BillsQuery, BillsView
from penstock_contracts.jobs import JobSpec
from penstock_contracts.nodes import NodeCommand
from penstock_contracts.queries import JobsQuery, UsageQuery
from penstock_gateway.errors import error_response
from penstock_gateway.payloads import (
    CancelAnswer,
    JobsAnswer,
    NodesAnswer,
    PolicyRequest,
    answer_for,
    decode_document,
    decode_jobs,
)
from penstock_gateway.streams import STREAM_NAMES, WantedOutput, stream_events, stream_logs

CONFIRM_S = 5.0
CANCEL_S = 1.0
NUMBER_DIGITS_MAX = 15


class Handlers:
    """Bound to one client of the mesh."""

    def __init__(self, client: Client) -> None:
        self._client = client

    # -- jobs -------------------------------------------------------------------------------------
    async def submit_jobs(self, request: web.Request) -> web.Response:
        jobs, many = decode_jobs(await request.read(), request.query.get("tenant", ""), new_job_id)
        by_tenant: dict[str, list[JobSpec]] = {}
        for tenant, spec in jobs:
            by_tenant.setdefault(tenant, []).append(spec)
        for tenant, specs in by_tenant.items():
            packed(specs, tenant)  # one that cannot be sent refuses all, before any is
        outcomes: list[Submitted] = await asyncio.gather(
            *(
                self._client.submit(specs, tenant, confirm_s=CONFIRM_S)
                for tenant, specs in by_tenant.items()
            )
        )
        answers = {answer.job_id: answer for o in outcomes for answer in answer_for(o)}
        in_order = tuple(answers[spec.job_id] for _, spec in jobs)
        if not many and in_order[0].refusal is not None:
            return error_response(in_order[0].refusal)
        return _json(JobsAnswer(in_order), 202)

    async def list_jobs(self, request: web.Request) -> web.Response:
        query = request.query
        asked = {
            "tenant": query.get("tenant", ""),
            "state": query.get("state", ""),
            "limit": _number(request, "limit", 100),
            "before": query.get("before", ""),
        }
        try:
            view, _ = await self._client.jobs(msgspec.convert(asked, JobsQuery))
        except msgspec.ValidationError as error:
            raise refuse("invalid_field", str(error), "limit") from error
        return _json(view)

    async def show_job(self, request: web.Request) -> web.Response:
        return _json(await self._client.job(request.match_info["job_id"]))

    async def cancel_job(self, request: web.Request) -> web.Response:
        job_id = request.match_info["job_id"]
        tenant = request.query.get("tenant") or await self._client.tenant_of(job_id)
        reason = request.query.get("reason", "")[:256]
        end = await self._client.cancel_and_watch(job_id, tenant, timeout_s=CANCEL_S, reason=reason)
        return _json(CancelAnswer(job_id, "cancelling" if end is None else end.fact), 202)

    async def explain_job(self, request: web.Request) -> web.Response:
        return _json(await self._client.explain(request.match_info["job_id"]))

    async def follow_job(self, request: web.Request) -> web.StreamResponse:
        return await stream_events(request, self._client, request.match_info["job_id"])

    async def read_logs(self, request: web.Request) -> web.StreamResponse:
        name = request.query.get("stream", "")
        if name and name not in STREAM_NAMES:
            raise refuse("invalid_field", "stream is stdout or stderr", "stream")
        wanted = WantedOutput(
            names=(name,) if name else STREAM_NAMES,
            rank=_number(request, "rank", None),
            since_ns=_nanoseconds(_instant(request, "since")),
            until_ns=_nanoseconds(_instant(request, "until")),
        )
        return await stream_logs(request, self._client, request.match_info["job_id"], wanted)

    # -- nodes ------------------------------------------------------------------------------------
    async def list_nodes(self, request: web.Request) -> web.Response:
        views, use = await asyncio.gather(
            self._client.nodes(), self._client.nodes_use(), return_exceptions=True
        )
        if isinstance(views, BaseException):
            raise views
        if isinstance(use, BaseException) and not isinstance(use, Unavailable):
            raise use
        shown = None if isinstance(use, BaseException) else use.nodes
        return _json(NodesAnswer(views.nodes, shown))

    async def show_node(self, request: web.Request) -> web.Response:
        return _json(await self._client.node(request.match_info["node"]))

    async def command_node(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            document = decode_document(body) if body else {}
            command = msgspec.convert(document, NodeCommand)
        except msgspec.ValidationError as error:
            raise refuse("invalid_field", str(error)) from error
        names = request.match_info
        return _json(await self._client.command_node(names["node"], names["verb"], command))

    # -- queue ------------------------------------------------------------------------------------
    async def show_queue(self, request: web.Request) -> web.Response:
        return _json(await queue(self._client.bus))

    async def show_policy(self, request: web.Request) -> web.Response:
        return _json(await held_policy(self._client.bus))

    async def set_policy(self, request: web.Request) -> web.Response:
        document = decode_document(await request.read())
        try:
            asked = msgspec.convert(document, PolicyRequest)
        except msgspec.ValidationError as error:
            raise refuse("invalid_field", str(error)) from error
        bus = self._client.bus
        return _json(await set_policy(bus, asked.policy, asked.based_on, asked.key))

    # -- use --------------------------------------------------------------------------------------
    async def show_usage(self, request: web.Request) -> web.Response:
        query = UsageQuery(
            request.query.get("tenant", ""), _instant(request, "from"), _instant(request, "to")
        )
        return _json(await self._client.usage(query))

    async def show_bills(self, request: web.Request) -> web.Response:
        return _json(await self._bills(request))

    async def print_bills(self, request: web.Request) -> web.Response:
        view = await self._bills(request)
        page = bills_page(view.bills, view.now_ms)
        return web.Response(text=page, content_type="text/html")

    async def _bills(self, request: web.Request) -> BillsView:
        given = {name: request.query.get(name, "") for name in ("month", "tenant")}
        try:
            query = msgspec.convert(given, BillsQuery)
        except msgspec.ValidationError as error:
            raise refuse("invalid_field", str(error)) from error
        return await bills(self._client.bus, query.month, query.tenant)

    async def explain_account(self, request: web.Request) -> web.Response:
        return _json(await job_account(self._client.bus, request.match_info["job_id"]))

    async def check_mesh(self, request: web.Request) -> web.Response:
        return _json(await self._client.check())


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json"
    )


def _number(request: web.Request, name: str, default: int | None) -> int | None:
    text = request.query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= NUMBER_DIGITS_MAX):
        raise refuse("invalid_field", f"{name} is a whole number", name)
    return int(text)


def _nanoseconds(at_ms: int | None) -> int | None:
    return None if at_ms is None else at_ms * 1_000_000


def _instant(request: web.Request, name: str) -> int | None:
    text = request.query.get(name, "")
    try:
        return parse_instant_ms(text, time.time_ns() // 1_000_000) if text else None
    except (ValueError, OverflowError) as error:
        raise refuse("invalid_field", str(error), name) from error
