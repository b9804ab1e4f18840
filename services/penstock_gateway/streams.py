"""How are facts and output followed over HTTP?

Server-sent events (WHATWG HTML, section 9.2) that go on where the reader left, and output as plain
bytes. A reader that does not read holds back its own stream only. It does not know how facts are
kept.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from penstock_client.client import Client
from penstock_client.failures import refuse
from penstock_client.following import Position
from penstock_client.logs import LogChunk, LogReader, MissingOutput
from penstock_contracts.jobs import TERMINAL
from penstock_contracts.public import JobEvent

KEEP_ALIVE_S = 15.0
"""A comment line so often tells proxies that the stream lives, and us that the reader does."""
STREAM_NAMES = ("stdout", "stderr")
SSE_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}


async def stream_events(request: web.Request, client: Client, job_id: str) -> web.StreamResponse:
    """Every fact of the job as an event with id `<seq>.<index>`, to its end.

    With `Last-Event-ID` it goes on behind that one; behind the last there is nothing: 204, which
    tells an EventSource to stop.
    """
    tenant = await client.tenant_of(job_id)
    after = position_of(request.headers.get("Last-Event-ID") or request.query.get("after", ""))
    last = await client.last_event(job_id, tenant)
    if last is not None and last.fact in TERMINAL and (last.seq, last.index) <= after:
        return web.Response(status=204)
    async with client.follower(job_id, tenant, after=after) as follower:
        events = follower.events()
        return await _send(request, (_fact_text(event) async for event in events))


class WantedOutput(NamedTuple):
    """What of a job's output; instants by the broker's clock."""

    names: tuple[str, ...]
    rank: int | None
    since_ns: int | None
    until_ns: int | None


async def stream_logs(
    request: web.Request, client: Client, job_id: str, wanted: WantedOutput
) -> web.StreamResponse:
    """Output as plain bytes, or as events where the reader accepts these; `follow` to the end."""
    tenant = await client.tenant_of(job_id)
    follow = request.query.get("follow", "") not in ("", "0", "false")
    as_events = "text/event-stream" in request.headers.get("Accept", "")
    names, rank, since_ns, until_ns = wanted
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(
            client.log_reader(job_id, tenant, rank=rank, since_ns=since_ns, until_ns=until_ns)
        )
        ending = asyncio.ensure_future(client.end_output(reader, job_id, tenant, wait=follow))
        stack.push_async_callback(_cancelled, ending)
        chunks = _output(reader, ending if until_ns is None else None, follow, names)
        if as_events:
            return await _send(request, _log_texts(chunks, reader))
        return await _send_bytes(request, chunks)


def position_of(text: str) -> Position:
    """`<seq>.<index>`; empty = from the start. Raises Refused."""
    seq, dot, index = text.partition(".")
    if not text:
        return (0, 0)
    if not (dot and seq.isdecimal() and index.isdecimal() and len(text) <= 40):
        raise refuse("invalid_field", "Last-Event-ID is <seq>.<index>", "Last-Event-ID")
    return int(seq), int(index)


async def _output(
    reader: LogReader, ending: asyncio.Future[bool] | None, follow: bool, names: tuple[str, ...]
) -> AsyncIterator[list[LogChunk]]:
    """`ending` None: only what is stored is wanted."""
    async for chunks in reader.stored():
        yield [chunk for chunk in chunks if chunk.stream in names]
    if ending is not None and (follow or await ending):
        async for chunks in reader.follow():
            yield [chunk for chunk in chunks if chunk.stream in names]


async def _send(request: web.Request, texts: AsyncIterator[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers=SSE_HEADERS)
    await response.prepare(request)
    async for text in _kept_alive(texts):
        await response.write(text)
    await response.write_eof()
    return response


async def _send_bytes(
    request: web.Request, batches: AsyncIterator[list[LogChunk]]
) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={"Content-Type": "application/octet-stream", "Cache-Control": "no-store"}
    )
    await response.prepare(request)
    async for chunks in batches:
        if data := b"".join(chunk.data or _mark(chunk) for chunk in chunks):
            await response.write(data)
    await response.write_eof()
    return response


async def _kept_alive(texts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The texts, and a comment whenever there was none for a while."""
    following = asyncio.ensure_future(_next(texts))
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=KEEP_ALIVE_S)
            if not done:
                yield b":\n\n"
                continue
            text = following.result()
            if text is None:
                return
            yield text
            following = asyncio.ensure_future(_next(texts))
    finally:
        await _cancelled(following)


async def _next(texts: AsyncIterator[bytes]) -> bytes | None:
    return await anext(texts, None)


async def _cancelled(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _fact_text(event: JobEvent) -> bytes:
    head = f"id: {event.seq}.{event.index}\nevent: {event.fact}\ndata: "
    return head.encode() + msgspec.json.encode(event) + b"\n\n"


async def _log_texts(
    batches: AsyncIterator[list[LogChunk]], reader: LogReader
) -> AsyncIterator[bytes]:
    async for chunks in batches:
        for chunk in chunks:
            yield _chunk_text(chunk)
    for gap in reader.missing:
        yield _missing_text(gap)
    yield b"event: end\ndata: {}\n\n"


def _mark(chunk: LogChunk) -> bytes:
    """What stands in plain output in place of bytes that a node had no room for."""
    return b"\n[penstock: %d bytes were dropped here]\n" % chunk.dropped


def _chunk_text(chunk: LogChunk) -> bytes:
    value: dict[str, object] = {
        "attempt": chunk.attempt,
        "rank": chunk.rank,
        "offset": chunk.offset,
    }
    if chunk.dropped:
        value["dropped"] = chunk.dropped
        return f"event: {chunk.stream}\ndata: ".encode() + msgspec.json.encode(value) + b"\n\n"
    try:
        value["text"] = chunk.data.decode()
    except UnicodeDecodeError:
        value["base64"] = base64.b64encode(chunk.data).decode()
    return f"event: {chunk.stream}\ndata: ".encode() + msgspec.json.encode(value) + b"\n\n"


def _missing_text(gap: MissingOutput) -> bytes:
    return b"event: missing\ndata: " + msgspec.json.encode(gap) + b"\n\n"
