"""What does a process do that takes streams into a ledger at full speed?

It opens the ledger as whoever takes over does, commits batch after batch from where the cursors
are, and rates in between; it ends when all is in. Tests kill it. It does not know when.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial

from penstock_bus.port import StoredMessage
from penstock_metering.ledger.database import Database
from penstock_metering.ledger.fence import Writer
from penstock_metering.ledger.ingest import open_ledger
from penstock_metering.rating.rater import rate_all, rate_some

MESSAGES_AT_ONCE = 12
RATED_AT_ONCE = 50

Streams = Mapping[str, Sequence[StoredMessage]]


def ingest_streams(url: str, streams: Streams, said: int) -> None:
    """The whole life of a process; a byte into the pipe `said` tells of each commit."""
    database = Database(url)
    ingest = open_ledger(database, Writer(name="ingesting"))
    while True:
        batch: dict[str, Sequence[StoredMessage]] = {}
        for name, messages in streams.items():
            cursor = ingest.cursors[name]
            batch[name] = messages[cursor : cursor + MESSAGES_AT_ONCE]
        if not any(batch.values()):
            break
        ingest.commit(batch)
        os.write(said, b".")
        ingest.change(partial(rate_some, limit=RATED_AT_ONCE))
    ingest.change(rate_all)
    database.close()
