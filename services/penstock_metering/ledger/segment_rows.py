"""How is each segment stored once, whatever comes again?

The key of a raw segment is what its derived id is made of; whether it is there, the database says,
within the transaction that stores it. It does not know when that is committed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from penstock_metering.core.segments import Posting, Rejected, SegmentKey, UsageMessage
from penstock_metering.ledger import schema
from penstock_metering.ledger.database import Database
from penstock_metering.ledger.records import line_values

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


def _boot(message: UsageMessage) -> tuple[str, str]:
    return message.node, message.boot_id


class SegmentRows:
    def __init__(self, database: Database) -> None:
        self._insert_raw = database.insert_absent(schema.raw_segments)
        self._insert_lines = database.insert(schema.ledger_lines)
        self._newest: dict[tuple[str, str], int] = {}
        """The highest number of each boot's messages so far: it decides nothing."""
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
        first = numbers.start
        raw = [(*key, first + place, said.payload) for key, (said, place) in offers.items()]
        missing = len(raw) - self._insert_raw.run(connection, raw)
        known = self._find_known(connection, missing, offers, messages, first) if missing else {}
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
        for message in messages:
            boot = _boot(message)
            self._newest[boot] = max(message.batch, self._newest.get(boot, -1))
        accepted = [
            Accepted(said, messages[place])
            for key, (said, place) in offers.items()
            if key not in known
        ]
        return Intaken(accepted, len(others) - len(refused), refused)

    def _find_known(
        self,
        connection: sa.Connection,
        missing: int,
        offers: Mapping[SegmentKey, tuple[Posting, int]],
        messages: Sequence[UsageMessage],
        first: int,
    ) -> dict[SegmentKey, str]:
        """What had been stored before message `first`, with its content. Messages of numbers that
        were seen are asked about first, since what is missing will be theirs."""
        seen = [message.batch <= self._newest.get(_boot(message), -1) for message in messages]
        keys = sorted(offers, key=lambda key: not seen[offers[key][1]])
        known: dict[SegmentKey, str] = {}
        for *key, number, payload in self._known.find(connection, keys):
            if number < first:
                known[key[0], key[1], key[2], key[3]] = payload
                if len(known) == missing:
                    break
        return known
