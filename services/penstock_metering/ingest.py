"""What does a batch of messages do to the ledger?

Decodes what the readers brought, folds it and has it written in one transaction with the cursors. A
message at or below its cursor was counted before and is skipped; one that cannot be read is kept
aside and reported. Runs on one thread. It does not wait for anything but the database.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec
from sqlalchemy.exc import OperationalError

from penstock_bus.port import StoredMessage
from penstock_contracts.errors import MALFORMED
from penstock_contracts.journal import JobFact
from penstock_contracts.nodes import NodeFact
from penstock_contracts.usage import UsageBatch
from penstock_metering.core.accounts import Counter, CounterKey
from penstock_metering.core.fleet import Fleet
from penstock_metering.core.history import History
from penstock_metering.core.rows import Anomaly
from penstock_metering.core.segments import Rejected, UsageMessage, newest, read_usage
from penstock_metering.store import Changes, Store
from penstock_runtime.entries import Committed, entry_decoder

log = logging.getLogger(__name__)

JOBS, NODES, USAGE = "JOBS", "NODES", "USAGE"
STREAMS = (NODES, JOBS, USAGE)
PAYLOAD_KEPT_MAX = 65_536
"""Letters kept of a message that could not be read."""

_decode_jobs = entry_decoder(JobFact)
_decode_nodes = entry_decoder(NodeFact)
_decode_usage = msgspec.json.Decoder(UsageBatch).decode

Arrived = Mapping[str, Sequence[StoredMessage]]


class Totals(msgspec.Struct):
    """Since this process began."""

    segments: int = 0
    repeated: int = 0
    quarantined: int = 0
    anomalies: int = 0
    gaps: int = 0
    unreadable: int = 0
    commits: int = 0


class DatabaseBusy(Exception):
    """The database could not commit now; nothing was counted, and the same batch may be given
    again."""


class Ingest:
    """`cursors` and `totals` are those of the last commit."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.totals = Totals()
        self._moved: dict[str, int] = {}
        self._is_loaded = False
        self._reload()

    def commit(self, arrived: Arrived) -> None:
        """Fold and store. Raises DatabaseBusy."""
        try:
            self._commit(arrived)
        except OperationalError as error:
            self._is_loaded = False  # what was folded may not have been stored
            raise DatabaseBusy(str(error)) from error

    def _commit(self, arrived: Arrived) -> None:
        if not self._is_loaded:
            self._reload()
        changes = Changes()
        self._moved = {}
        rejected: list[Rejected] = []
        unreadable: list[Anomaly] = []
        self._fold_journal(arrived.get(NODES, ()), NODES, _decode_nodes, self.fleet, unreadable)
        self._fold_journal(arrived.get(JOBS, ()), JOBS, _decode_jobs, self.history, unreadable)
        changes.usage = self._read_usage(arrived.get(USAGE, ()), rejected)
        counters = self._count(changes.usage)
        changes.counters = counters.values()
        changes.jobs, changes.leases, anomalies, changes.strays = self.history.take_changes()
        changes.anomalies = [*unreadable, *anomalies]
        changes.node_changes, changes.nodes = self.fleet.take_changes()
        changes.rejected = rejected
        changes.cursors = self._moved
        written = self._store.write(changes)
        self.cursors.update(self._moved)
        self._counters.update(counters)
        self._tally(written.segments, written.repeated, written.quarantined, written.anomalies)
        for found in changes.anomalies:
            log.error(found.sentence, extra={"code": found.code, "seq": found.seq})

    def _reload(self) -> None:
        loaded = self._store.load()
        self.history = History(loaded.jobs, loaded.leases)
        self.fleet = Fleet(loaded.nodes)
        self._counters: dict[CounterKey, Counter] = loaded.counters
        self.cursors = dict.fromkeys(STREAMS, 0) | loaded.cursors
        self._is_loaded = True

    def rewind(self, stream: str, seq: int) -> None:
        """The broker has lost what stood behind `seq`: what comes next is new."""
        self._store.write(Changes(cursors={stream: seq}))
        self.totals.gaps += 1
        self.cursors[stream] = seq

    def _unseen(self, stream: str, messages: Sequence[StoredMessage]) -> Sequence[StoredMessage]:
        cursor = self.cursors[stream]
        fresh = [message for message in messages if message.seq > cursor]
        for message in fresh:
            if message.seq != cursor + 1:
                self.totals.gaps += 1
                log.error("%s lacks %d to %d", stream, cursor + 1, message.seq - 1)
            cursor = message.seq
        self._moved[stream] = cursor
        return fresh

    def _fold_journal(
        self,
        messages: Sequence[StoredMessage],
        stream: str,
        decode: Callable[[StoredMessage], Committed | None],
        fold: History | Fleet,
        unreadable: list[Anomaly],
    ) -> None:
        for message in self._unseen(stream, messages):
            entry = decode(message)
            if entry is None:
                self.totals.unreadable += 1
                sentence = f"entry {message.seq} of {stream} could not be read and was skipped"
                unreadable.append(Anomaly(stream, message.seq, "unreadable_entry", sentence))
            else:
                fold.apply(entry.seq, entry.now_ns, entry.facts)

    def _read_usage(
        self, messages: Sequence[StoredMessage], rejected: list[Rejected]
    ) -> list[UsageMessage]:
        found = []
        for message in self._unseen(USAGE, messages):
            try:
                said = _decode_usage(message.payload)
            except MALFORMED as error:
                self.totals.unreadable += 1
                text = message.payload[:PAYLOAD_KEPT_MAX].decode(errors="backslashreplace")
                text = text.replace("\0", "\\x00")
                rejected.append(Rejected(USAGE, message.seq, f"unreadable: {error}", text))
                continue
            usage, faults = read_usage(message.seq, message.subject.rpartition(".")[2], said)
            rejected.extend(faults)
            if usage is not None:
                found.append(usage)
        return found

    def _count(self, messages: Sequence[UsageMessage]) -> dict[CounterKey, Counter]:
        changed: dict[CounterKey, Counter] = {}
        for message in messages:
            for counter in message.counters:
                key: CounterKey = (counter.node, counter.boot_id, counter.uuid)
                known = changed.get(key) or self._counters.get(key)
                if newest(known, counter) is counter:
                    changed[key] = counter
        return changed

    def _tally(self, segments: int, repeated: int, quarantined: int, anomalies: int) -> None:
        self.totals.segments += segments
        self.totals.repeated += repeated
        self.totals.quarantined += quarantined
        self.totals.anomalies += anomalies
        self.totals.commits += 1
