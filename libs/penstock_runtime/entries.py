"""What does a journal entry look like as bytes?

Writes entries by joining facts that are encoded already, and reads them back with their facts as
objects. It does not know what the facts mean, nor who appends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from penstock_bus.port import StoredMessage
from penstock_contracts.bounds import Number
from penstock_contracts.errors import MALFORMED

log = logging.getLogger(__name__)

encode_json = msgspec.json.Encoder().encode
_ENTRY = b'{"term":%d,"writer":%b,"entry_id":%b,"now_ns":%d,"cursors":%b,"marks":%b,"facts":[%b]}'
_NO_MARKS: Mapping[str, int] = {}


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """One entry that is in the journal at `seq`, its facts as objects in their order."""

    seq: int
    term: int
    writer: str
    entry_id: str
    now_ns: int
    cursors: Mapping[str, int]
    facts: Sequence[Any]
    marks: Mapping[str, int] = {}


def encode_entry(
    *,
    term: int,
    writer: str,
    entry_id: str,
    now_ns: int,
    cursors: Mapping[str, int],
    facts: Sequence[bytes],
    marks: Mapping[str, int] = _NO_MARKS,
) -> bytes:
    """The bytes of a `JournalEntry` around facts that are JSON already."""
    return _ENTRY % (
        term,
        encode_json(writer),
        encode_json(entry_id),
        now_ns,
        encode_json(cursors),
        encode_json(marks),
        b",".join(facts),
    )


def entry_decoder(fact_type: Any) -> Callable[[StoredMessage], Committed | None]:
    """Make the function that reads entries of one journal; None = undecodable (logged as error)."""
    # A copy of `JournalEntry` with decoded facts: one pass instead of a Raw copy of each fact.
    whole = msgspec.defstruct(
        "DecodedEntry",
        [
            ("term", Number),
            ("writer", str),
            ("entry_id", str),
            ("now_ns", Number),
            ("cursors", dict[str, Number]),
            ("facts", list[fact_type]),
            ("marks", dict[str, Number], msgspec.field(default_factory=dict)),
        ],
        frozen=True,
    )
    decode_whole: Callable[[bytes], Any] = msgspec.json.Decoder(whole).decode

    def decode(message: StoredMessage) -> Committed | None:
        try:
            entry = decode_whole(message.payload)
        except MALFORMED as error:
            log.error(
                "undecodable journal entry skipped: %s",
                error,
                extra={"subject": message.subject, "seq": message.seq},
            )
            return None
        return Committed(
            seq=message.seq,
            term=entry.term,
            writer=entry.writer,
            entry_id=entry.entry_id,
            now_ns=entry.now_ns,
            cursors=entry.cursors,
            facts=entry.facts,
            marks=entry.marks,
        )

    return decode
