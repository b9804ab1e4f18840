"""What does an observer at the broker see?

The in-memory broker of a world, which writes down every journal entry, fact, log chunk and cursor
when it is stored, before any purge. It does not judge them.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.memory_stream import MemoryStream
from penstock_bus.port import StoredMessage
from penstock_contracts.journal import JobFact
from penstock_contracts.nodes import NodeFact
from penstock_contracts.public import JobEvent, RequestRefusal
from penstock_runtime.cursors import Cursor
from penstock_runtime.entries import Committed, entry_decoder
from tests.checkers.history import CursorSeen, Entry, Fact, History, LogChunk
from tests.simulation.kernel import Kernel

CURSORS = "KV_CURSORS"
_JOURNALS: dict[str, Any] = {"JOBS": entry_decoder(JobFact), "NODES": entry_decoder(NodeFact)}
_event = msgspec.json.Decoder(JobEvent).decode
_refusal = msgspec.json.Decoder(RequestRefusal).decode
_JOB_ID = re.compile(rb'"job_id":"([0-9A-Z]{26})"')
_cursor = msgspec.json.Decoder(Cursor).decode


class ObservedBroker(MemoryBroker):
    """Fills `history` as messages are stored."""

    def __init__(self, kernel: Kernel, history: History, *, sync_always: bool) -> None:
        super().__init__(lambda: kernel.now_ns, rng=kernel.rng, sync_always=sync_always)
        self._history = history
        self.requests: dict[str, int] = {}
        """Job id → sequence of the first request that is stored about it."""

    def stored(self, stream: MemoryStream, seq: int) -> None:
        message = stream.read(seq)
        if message is not None:
            self._note(stream.config.name, message)
        super().stored(stream, seq)

    def _note(self, stream: str, message: StoredMessage) -> None:
        history, at_ns = self._history, self.clock()
        if stream in _JOURNALS:
            entry: Committed | None = _JOURNALS[stream](message)
            if entry is None:
                history.undecodable.add((stream, message.seq))
            else:
                entries = history.jobs_entries if stream == "JOBS" else history.nodes_entries
                entries.append(Entry(at_ns=at_ns, entry=entry))
        elif stream == "REQUESTS" and message.subject.endswith(".submit"):
            for job_id in _JOB_ID.findall(message.payload):
                self.requests.setdefault(job_id.decode(), message.seq)
        elif stream == "FACTS":
            history.facts.append(_fact(message))
        elif stream == "LOGS":
            *_, tenant, job_id, attempt, rank, name = message.subject.split(".")
            headers = message.headers or {}
            chunk = LogChunk(int(headers["Penstock-Offset"]), message.payload)
            key = (tenant, job_id, int(attempt), int(rank), name)
            history.logs.setdefault(key, []).append(chunk)
        elif stream == CURSORS and message.payload:
            _, of, reader = message.subject.rsplit(".", 2)
            cursor = _cursor(message.payload).seq
            history.cursors.append(CursorSeen(at_ns=at_ns, stream=of, reader=reader, seq=cursor))


def _fact(message: StoredMessage) -> Fact:
    headers = message.headers or {}
    decode: Any = _refusal if ".refusal." in message.subject else _event
    return Fact(
        stream_seq=message.seq,
        subject=message.subject,
        ce_id=headers.get("ce-id", ""),
        event=decode(message.payload),
    )
