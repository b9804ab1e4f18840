"""How does what lies in the broker and in the ledger become history?

Writes down one stored message, or reads all lines of a ledger, for whoever watches: a simulation or
a run on a real cluster. It does not know when messages are seen.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from penstock_bus.port import StoredMessage
from penstock_contracts.budgets import BudgetFact, BudgetState
from penstock_contracts.journal import JobFact
from penstock_contracts.nodes import NodeFact
from penstock_contracts.output import piece_of
from penstock_contracts.public import JobEvent, RequestRefusal
from penstock_metering.ledger import schema
from penstock_metering.ledger.database import Database
from penstock_runtime.cursors import Cursor
from penstock_runtime.entries import Committed, entry_decoder
from tests.checkers.books import BudgetSaid, Line
from tests.checkers.history import CursorSeen, Entry, Fact, History, LogChunk

CURSORS = "KV_CURSORS"
_JOURNALS: dict[str, Any] = {"JOBS": entry_decoder(JobFact), "NODES": entry_decoder(NodeFact)}
_event = msgspec.json.Decoder(JobEvent).decode
_refusal = msgspec.json.Decoder(RequestRefusal).decode
_budget = msgspec.json.Decoder(BudgetFact).decode
_cursor = msgspec.json.Decoder(Cursor).decode


def note(history: History, stream: str, message: StoredMessage, at_ns: int) -> Committed | None:
    """Add a message of a journal, of FACTS, LOGS, BUDGETS or the cursors; of another stream,
    nothing. Returns the entry, when it is one."""
    if stream in _JOURNALS:
        entry: Committed | None = _JOURNALS[stream](message)
        if entry is None:
            history.undecodable.add((stream, message.seq))
            return None
        entries = history.jobs_entries if stream == "JOBS" else history.nodes_entries
        entries.append(Entry(at_ns=at_ns, entry=entry))
        return entry
    if stream == "FACTS":
        history.facts.append(_fact(message))
    elif stream == "LOGS":
        *_, tenant, job_id, attempt, rank, name = message.subject.split(".")
        piece = piece_of(message.payload, message.headers)
        key = (tenant, job_id, int(attempt), int(rank), name)
        if piece is None:
            raise ValueError(f"nobody says where output belongs: {message}")
        chunk = LogChunk(piece.offset, piece.data, piece.dropped)
        history.logs.setdefault(key, []).append(chunk)
    elif stream == "BUDGETS":
        said = _budget(message.payload)
        if isinstance(said, BudgetState):
            history.budgets_said.append(BudgetSaid(at_ns=at_ns, state=said))
    elif stream == CURSORS and message.payload:
        _, of, reader = message.subject.rsplit(".", 2)
        seq = _cursor(message.payload).seq
        history.cursors.append(CursorSeen(at_ns=at_ns, stream=of, reader=reader, seq=seq))
    return None


def _fact(message: StoredMessage) -> Fact:
    headers = message.headers or {}
    decode: Any = _refusal if ".refusal." in message.subject else _event
    return Fact(
        stream_seq=message.seq,
        subject=message.subject,
        ce_id=headers.get("ce-id", ""),
        event=decode(message.payload),
    )


def ledger_lines(database: Database) -> list[Line]:
    """Every line there is; closes the database."""
    try:
        lines, batches = schema.ledger_lines, schema.usage_batches
        where = lines.join(batches, batches.c.number == lines.c.batch_number)
        columns = [
            *(lines.c[name] for name in Line._fields[: Line._fields.index("node")]),
            *(batches.c[name] for name in ("node", "boot_id", "batch")),
        ]
        asked = sa.select(*columns).select_from(where).order_by(*lines.primary_key.columns)
        with database.reading.connect() as connection:
            return [Line._make(row) for row in connection.execute(asked)]
    finally:
        database.close()
