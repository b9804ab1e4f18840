"""What do HTTP requests of any kind do to the gateway?

Raw requests into the real protocol of the real application, without sockets: paths, queries,
headers, tokens, bodies and whole requests are changed. Never a 500; every error is JSON with a code
and a sentence, save where the bytes are no HTTP at all; without the token nothing reaches the mesh,
nor does what is refused. It does not know the services.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote
from zlib import crc32

import msgspec
from aiohttp import web

from fuzz.instant_mesh import ENDED, LIVE, InstantMesh, specs_of
from fuzz.mutation import Given
from fuzz.runner import Violation, check_refusal
from fuzz.words import SUBJECT_TOKENS, TEXTS
from penstock_client.client import Client
from penstock_contracts.errors import Refusal
from penstock_contracts.message_type import GATEWAY
from penstock_contracts.registry import MESSAGES
from penstock_gateway.app import make_app

TOKEN = "s3cret"
CYCLES_MAX = 400
"""Turns of the loop within which the mesh that answers at once has been asked all."""
SUBMIT = b'{"command":["true"],"gpus":1,"env":{"A":"b"},"labels":{"team":"x"},"tenant":"acme"}'
ASKS = (
    b'{"command":["x"],"ranks":2,"gpus":1,"alternatives":[{"gpus":2,"gpu_models":["L4"],'
    b'"speed_milli":500}],"near":"rack","near_required":true,"spread":"node","spread_ranks":1,'
    b'"node_labels":{"zone":"a"},"apart":"db"}'
)
POLICY = (
    b'{"key":"01ARZ3NDEKTSV4RRFFQ69G5FAV","based_on":3,"policy":{"pools":[{"name":"a",'
    b'"node_labels":{"rack":"r1"},"order":"hold","hold_s":60},{"name":"b","preempt":"all"}],'
    b'"quotas":[{"name":"q","pool":"b","tenant":"acme","guaranteed_gpu_milli":1000,"weight":2}],'
    b'"reservations":[{"name":"r","start_ms":1000,"end_ms":9000,"nodes":["n1"]}]}}'
)
BODIES: dict[str, bytes] = {
    "POST /v1/jobs": SUBMIT,
    "POST /v1/jobs?tenant=other": b'{"jobs":[' + SUBMIT + b"," + ASKS + b"]}",
    "POST /v1/nodes/node-a/drain": b'{"reason":"disk","deadline_s":60}',
    "POST /v1/nodes/node-a/cordon": b"",
    "GET /v1/jobs?tenant=acme&state=running&limit=5&before=" + ENDED: b"",
    f"GET /v1/jobs/{ENDED}": b"",
    f"DELETE /v1/jobs/{LIVE}?reason=enough": b"",
    f"DELETE /v1/jobs/{LIVE}?tenant=acme": b"",
    f"GET /v1/jobs/{LIVE}/explain": b"",
    f"GET /v1/jobs/{ENDED}/account": b"",
    f"GET /v1/jobs/{ENDED}/events?after=1.0": b"",
    f"GET /v1/jobs/{ENDED}/logs?stream=stdout&rank=0": b"",
    "GET /v1/nodes": b"",
    "GET /v1/nodes/node-a": b"",
    "GET /v1/queue": b"",
    "GET /v1/queue/policy": b"",
    "PUT /v1/queue/policy": POLICY,
    "GET /v1/usage?tenant=acme&from=24h&to=2027-01-01T00:00:00Z": b"",
    "GET /v1/bills?tenant=acme&month=2026-11": b"",
    "GET /v1/bills.html?tenant=acme&month=2026-11": b"",
    "GET /v1/check": b"",
    "GET /openapi.json": b"",
    "GET /healthz": b"",
    "GET /metrics": b"",
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
OPEN = ("/openapi.json", "/healthz", "/readyz", "/metrics")
METHODS = ("GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "get", "BREW", "G T", "")
ESCAPES = ("%00", "%0d%0a", "%2e%2e", "%2f", "%ff", "%c0%80", "%ed%a0%80", "%", "%zz", "%25",
           "?", "#", "&", "=", "//", "/./", "/../", ";", "[]", "\\", "\t")  # fmt: skip
HEADERS = (
    ("Accept", "text/event-stream"), ("Last-Event-ID", "1.0"), ("Last-Event-ID", "²." + "9" * 30),
    ("Last-Event-ID", "1." + "9" * 5_000), ("Content-Type", "application/x-www-form-urlencoded"),
    ("Content-Encoding", "gzip"), ("Content-Encoding", "br"), ("Transfer-Encoding", "chunked"),
    ("Content-Length", "-1"), ("Content-Length", "9" * 30), ("Content-Length", "5"), ("Host", ""),
    ("Expect", "100-continue"), ("Range", "bytes=0-1"), ("X" * 9_000, "y"), ("X", "y" * 9_000),
    ("Upgrade", "websocket"), ("Authorization", "Bearer wrong"), ("Authorization", "Bearer \xff"),
    ("Authorization", ""), ("Authorization", "Basic s3cret"), ("Cookie", "a=b; c"), ("X", "a\x00b"),
)  # fmt: skip


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def writelines(self, parts: Any) -> None:
        self.written += b"".join(parts)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 5) if name in ("peername", "sockname") else default

    def pause_reading(self) -> None:
        """All is here already."""

    def resume_reading(self) -> None:
        """All is here already."""


class Gateway:
    """A subject is `METHOD target`; the headers are the request's own."""

    name = "gateway"
    messages = tuple(message.name for message in MESSAGES if GATEWAY in message.writers)
    words: Sequence[str | int] = (
        ENDED, LIVE, "acme", "other", "node-a", "cordon", "stdout", "a.b", ">", "*", 0, 1, 1_000,
        1_001,
    )  # fmt: skip
    pure = False

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self.mesh = InstantMesh()
        self._runner = self._loop.run_until_complete(self._serve())

    async def _serve(self) -> web.AppRunner:
        mesh: Any = self.mesh
        app = make_app(Client(mesh), token=TOKEN)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        return runner

    def close(self) -> None:
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    def reset(self) -> None:
        self.mesh.stored.clear()

    def digest(self) -> object:
        return list(self.mesh.stored)

    def valid(self) -> Sequence[Given]:
        headers = (("Host", "x"), ("Authorization", f"Bearer {TOKEN}"))
        return [Given(line, body, headers) for line, body in BODIES.items()]

    def give(self, given: Given) -> bool:
        """The line and the headers are changed further here, by what HTTP alone has."""
        raw, authorized = self._request(given)
        before = len(self.mesh.stored)
        answer = self._loop.run_until_complete(self._exchange(raw))
        if answer.startswith(CONTINUE):
            answer = answer.removeprefix(CONTINUE)
        if not answer:
            return False  # the request never ended, and the connection did
        status = int(answer[9:12])
        if not authorized and (len(self.mesh.stored) != before or _tells(status, raw)):
            raise Violation(f"told or stored without the token: {status} to {raw[:300]!r}")
        for subject, payload in self.mesh.stored[before:]:
            if subject.endswith("submit"):
                specs_of(payload)
        _check(status, answer, raw)
        if status >= 400 and len(self.mesh.stored) != before:
            raise Violation(f"{status}, and stored: {answer[-300:]!r} to {raw[:600]!r}")
        return status < 400

    def _request(self, given: Given) -> tuple[bytes, bool]:
        rng = random.Random(crc32(given.subject.encode("utf-8", "surrogatepass") + given.payload))
        method, _, target = given.subject.partition(" ")
        if rng.random() < 0.06:
            method = rng.choice(METHODS)
        if rng.random() < 0.35:
            target = _wrong_target(target, rng)
        headers = dict(given.headers)
        authorized = headers.get("Authorization") == f"Bearer {TOKEN}"
        lines = [f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        if rng.random() < 0.2:
            name, value = rng.choice(HEADERS)
            lines.append(f"{name}: {value}")
        lines.append(f"Content-Length: {len(given.payload)}")
        lines.append("Connection: close")
        text = "\r\n".join(lines) + "\r\n\r\n"
        return text.encode("utf-8", "surrogateescape") + given.payload, authorized

    async def _exchange(self, raw: bytes) -> bytes:
        server = self._runner.server
        if server is None:
            raise RuntimeError("the runner is not set up")
        protocol: Any = server()
        transport = Transport()
        protocol.connection_made(transport)
        protocol.data_received(raw)
        for _ in range(CYCLES_MAX):
            if transport.closed:
                break
            await asyncio.sleep(0)
        protocol.connection_lost(None)
        await asyncio.sleep(0)
        return bytes(transport.written)


def _wrong_target(target: str, rng: random.Random) -> str:
    """Another path or query: tokens replaced, parameters doubled, odd escapes."""
    path, mark, query = target.partition("?")
    way = rng.randrange(5)
    if way == 0:
        parts = path.split("/")
        parts[rng.randrange(len(parts))] = _quoted(rng.choice(SUBJECT_TOKENS), rng)
        path = "/".join(parts)
    elif way == 1:
        at = rng.randint(0, len(path))
        path = path[:at] + rng.choice(ESCAPES) + path[at:]
    elif way == 2 and query:
        fields = query.split("&")
        at = rng.randrange(len(fields))
        name = fields[at].partition("=")[0]
        fields[at] = f"{name}={_quoted(rng.choice(TEXTS), rng)}"
        query = "&".join(fields)
    elif way == 3:
        names = ("tenant", "limit", "before", "rank", "from", "to", "after", "follow", "x")
        query, mark = f"{query}&{rng.choice(names)}={_quoted(rng.choice(TEXTS), rng)}", "?"
    else:
        at = rng.randint(0, len(query))
        query, mark = query[:at] + rng.choice(ESCAPES) + query[at:], "?"
    return path + mark + query


def _quoted(text: str, rng: random.Random) -> str:
    """As a careful client writes it, or as it is."""
    if rng.random() < 0.8 or "\n" in text or "\r" in text:
        return quote(text.encode("utf-8", "surrogatepass"), safe="")
    return text.replace(" ", "+")


def _tells(status: int, raw: bytes) -> bool:
    """Whether this is an answer from behind the token."""
    path = raw.split(b" ")[1].partition(b"?")[0].partition(b"#")[0]
    return status < 400 and unquote(path.decode("utf-8", "replace")) not in OPEN


def _check(status: int, answer: bytes, raw: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    if status >= 500:
        raise Violation(f"{status}: {body[:300]!r} to {raw[:500]!r}")
    if status < 400 or raw.startswith(b"HEAD "):
        return
    if b"application/json" not in head:
        if status == 400 and b"Server: Python" in head:
            return  # the bytes were no HTTP; the library says so in its own words
        raise Violation(f"{status} is not JSON: {answer[:300]!r}")
    found = msgspec.json.decode(body, type=dict[str, Refusal])
    check_refusal(found["refusal"])
