"""How is each segment stored once, whatever comes again?

The key of a raw segment is what its derived id is made of; whether it is there, the database says,
within the transaction that stores it. It does not know when that is committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from penstock_metering import schema
from penstock_metering.core.segments import Posting, Rejected, SegmentKey, UsageMessage
from penstock_metering.database import Database
from penstock_metering.records import line_values

FORGOTTEN = ""
"""Instead of a raw segment's content: it is known, and what it said is no longer kept."""


class Accepted(NamedTuple):
    """A segment that was not known, and the message it came in."""

    posting: Posting
    message: UsageMessage


class Intaken(NamedTuple):
    """`refused` contradict what is known under the same id, or what came before in this batch."""

    accepted: Sequence[Accepted]
    repeated: int
    refused: Sequence[Rejected]


class SegmentRows:
    def __init__(self, database: Database) -> None:
        self._insert_raw = database.insert_absent(schema.raw_segments)
        self._insert_lines = database.insert(schema.ledger_lines)
        self._known = database.lookup(schema.raw_segments, "batch_number", "payload")

    def store(
        self, connection: sa.Connection, messages: Sequence[UsageMessage], numbers: range
    ) -> Intaken:
        """The first of an id stands. `numbers`: what this transaction calls each message."""
        offers: dict[SegmentKey, tuple[Posting, int]] = {}
        others: list[tuple[Posting, int]] = []
        for place, message in enumerate(messages):
            for posting in message.postings:
                if offers.setdefault(posting.key, (posting, place))[0] is not posting:
                    others.append((posting, place))
        known: dict[SegmentKey, str] = {}
        first = numbers.start
        raw = [(*key, first + place, said.payload) for key, (said, place) in offers.items()]
        if self._insert_raw.run(connection, raw) != len(raw):
            for *key, number, payload in self._known.find(connection, list(offers)):
                if number < first:
                    known[tuple(key)] = payload
        lines = [
            line
            for key, (said, place) in offers.items()
            if key not in known
            for line in line_values(said, first + place)
        ]
        self._insert_lines.run(connection, lines)
        others += [offers[key] for key in offers if key in known]
        stands = {
            said.key: known[said.key] if said.key in known else offers[said.key][0].payload
            for said, _ in others
        }
        refused = [
            Rejected("USAGE", messages[place].seq, "same_id_other_content", said.payload)
            for said, place in others
            if stands[said.key] not in (said.payload, FORGOTTEN)
        ]
        accepted = [
            Accepted(said, messages[place])
            for key, (said, place) in offers.items()
            if key not in known
        ]
        return Intaken(accepted, len(others) - len(refused), refused)
