"""How do a job's bytes reach this process's stdout and stderr?

Raw, in order, on a thread of their own, so that a slow reader holds back only the reading and never
the connection. It also keeps the one status line of a terminal out of their way. It does not know
where the bytes come from.
"""

from __future__ import annotations

import asyncio
import base64
import os
import select
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from penstock_client.commands.tables import printable
from penstock_client.logs import LogChunk

STDOUT, STDERR = 1, 2
WRITE_BYTES_MAX = 1024 * 1024
"""Chunks are joined up to this size: one write instead of many."""
CLEAR_LINE = "\r\x1b[K"


class Output:
    """Writes chunks and, on a terminal, one status line.

    Raises BrokenPipeError when nobody reads.
    """

    def __init__(self, *, as_json: bool = False, status: bool | None = None) -> None:
        self._as_json = as_json
        self._status_wanted = (sys.stderr.isatty() and not as_json) if status is None else status
        self._status = ""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="output")

    @property
    def shows_status(self) -> bool:
        return self._status_wanted

    async def write(self, chunks: Iterable[LogChunk]) -> None:
        """Returns when the system has taken all of it."""
        parts = [_json_chunk(c) for c in chunks] if self._as_json else _joined(chunks)
        if parts:
            self.show_status("")
            await asyncio.get_running_loop().run_in_executor(self._thread, _write_all, parts)

    async def write_line(self, value: dict[str, Any]) -> None:
        """One JSON line on stdout (--json only)."""
        line = msgspec.json.encode(value) + b"\n"
        await asyncio.get_running_loop().run_in_executor(self._thread, _write_all, [(STDOUT, line)])

    def show_status(self, text: str) -> None:
        """Replaces the status line of a terminal; elsewhere nothing."""
        if not self._status_wanted or text == self._status:
            return
        width = os.get_terminal_size(STDERR).columns - 1 if os.isatty(STDERR) else 80
        sys.stderr.write(CLEAR_LINE + printable(text)[:width])
        sys.stderr.flush()
        self._status = text

    def close(self) -> None:
        self.show_status("")
        self._thread.shutdown(wait=True)


def _joined(chunks: Iterable[LogChunk]) -> list[tuple[int, bytes]]:
    """Neighbours of the same stream as one piece, in order."""
    pieces: list[tuple[int, list[bytes]]] = []
    size = 0
    for chunk in chunks:
        if chunk.dropped:
            pieces.append((STDERR, [_mark(chunk)]))
            continue
        target = STDERR if chunk.stream == "stderr" else STDOUT
        if not pieces or pieces[-1][0] != target or size > WRITE_BYTES_MAX:
            pieces.append((target, []))
            size = 0
        pieces[-1][1].append(chunk.data)
        size += len(chunk.data)
    return [(target, b"".join(parts)) for target, parts in pieces]


def _mark(chunk: LogChunk) -> bytes:
    where = f"{chunk.stream} of attempt {chunk.attempt}, rank {chunk.rank}"
    at = f"from byte {chunk.offset} on"
    return f"penstock: {chunk.dropped} bytes were dropped here: {where}, {at}\n".encode()


def _json_chunk(chunk: LogChunk) -> tuple[int, bytes]:
    """A chunk as a JSON line; bytes that are no UTF-8 by themselves come as base64."""
    value: dict[str, Any] = {
        "attempt": chunk.attempt,
        "rank": chunk.rank,
        "stream": chunk.stream,
        "offset": chunk.offset,
    }
    if chunk.dropped:
        value["dropped"] = chunk.dropped
        return STDOUT, msgspec.json.encode({"log": value}) + b"\n"
    try:
        value["text"] = chunk.data.decode()
    except UnicodeDecodeError:
        value["base64"] = base64.b64encode(chunk.data).decode()
    return STDOUT, msgspec.json.encode({"log": value}) + b"\n"


def _write_all(parts: list[tuple[int, bytes]]) -> None:
    for target, data in parts:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(target, view) :]
            except BlockingIOError:
                select.select([], [target], [])  # somebody made the descriptor non-blocking
