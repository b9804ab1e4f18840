"""What does a batch of messages do to the ledger?

Decodes what the readers brought, folds it and has it written in one transaction with the cursors. A
message at or below its cursor was counted before and is skipped; one that cannot be read is kept
aside and reported. Runs on one thread. It does not wait for anything but the database.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from penstock_bus.port import StoredMessage
from penstock_contracts.errors import MALFORMED
from penstock_contracts.journal import DemandNoted, JobFact
from penstock_contracts.nodes import NodeFact, NodeView
from penstock_contracts.usage import UsageBatch
from penstock_metering.core.accounts import Counter, CounterKey
from penstock_metering.core.allowances import Allowances
from penstock_metering.core.demand import DemandChange, read_demand
from penstock_metering.core.fleet import Fleet
from penstock_metering.core.history import NS_PER_MS, History
from penstock_metering.core.rows import Anomaly
from penstock_metering.core.segments import (
    PAYLOAD_KEPT_MAX,
    Rejected,
    UsageMessage,
    newest,
    read_usage,
)
from penstock_metering.devices.facts import JOBS_TIME
from penstock_metering.ledger.database import Database, is_out
from penstock_metering.ledger.fence import Writer
from penstock_metering.ledger.records import GAP
from penstock_metering.ledger.store import Changes, Store
from penstock_runtime.entries import Committed, entry_decoder

log = logging.getLogger(__name__)

JOBS, NODES, USAGE = "JOBS", "NODES", "USAGE"
STREAMS = (NODES, JOBS, USAGE)
USAGE_TIME = "USAGE time"
"""Among the cursors: the broker's instant of the message at USAGE's cursor, 0 = not known. Another
one in that place is another message."""
RECALLED = "NODES recalled"
"""Among the cursors: up to where inventory was asked for what entries of NODES had told."""

_decode_jobs = entry_decoder(JobFact)
_decode_nodes = entry_decoder(NodeFact)
_decode_usage = msgspec.json.Decoder(UsageBatch).decode

_MISSED = {
    NODES: "what changed about nodes meanwhile is not known",
    JOBS: "jobs and leases of that time are not known, or not how they ended",
    USAGE: "use reported in them is not in the ledger",
}
_REWOUND = "{0} was read up to {2}, which the broker has lost: reading on behind {1}"

T = TypeVar("T")
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


def open_ledger(database: Database, writer: Writer) -> Ingest:
    """Bring the database up to date and take the right to write it from whoever had it. Raises
    DatabaseBusy."""
    try:
        database.open()
        return Ingest(Store(database, writer))
    except DBAPIError as error:
        if is_out(error):
            raise DatabaseBusy(str(error)) from error
        raise


class Ingest:
    """`cursors` and `totals` are those of the last commit."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.totals = Totals()
        self._moved: dict[str, int] = {}
        self._marks: dict[str, int] = {}
        self._usage_time_ns = 0
        self._noted: list[Anomaly] = []
        self._demand: list[DemandChange] = []
        self._is_loaded = False
        self._reload()

    def commit(self, arrived: Arrived) -> None:
        """Fold and store. Raises DatabaseBusy and Superseded."""
        with self._storing() as changes:
            rejected: list[Rejected] = []
            self._fold_journal(arrived.get(NODES, ()), NODES, _decode_nodes, self.fleet)
            self._fold_journal(arrived.get(JOBS, ()), JOBS, _decode_jobs, self.history)
            changes.usage = self._read_usage(arrived.get(USAGE, ()), rejected)
            changes.rejected = rejected

    def confirm(self) -> None:
        """Return while this process may write the ledger. Raises DatabaseBusy and Superseded."""
        self.change(lambda connection: None)

    def change(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in one transaction of whoever may write the ledger; what it raises undoes it.
        Raises DatabaseBusy and Superseded."""
        try:
            return self._store.change(work)
        except DBAPIError as error:
            if is_out(error):
                raise DatabaseBusy(str(error)) from error
            raise

    def position(self, stream: str) -> tuple[int, int]:
        """The cursor, and when the broker stored the message there (0 = not known)."""
        return self.cursors[stream], self._usage_time_ns if stream == USAGE else 0

    def jump(self, stream: str, seq: int) -> None:
        """What follows the cursor is not there: go on behind `seq`, and say so for ever. Raises
        DatabaseBusy and Superseded."""
        with self._storing():
            cursor = self.cursors[stream]
            self._moved[stream] = seq
            if stream == USAGE:
                self._marks[USAGE_TIME] = 0
            if seq > cursor:
                self._miss(stream, cursor, seq)
            else:
                self._note(stream, seq, "stream_rewound", _REWOUND.format(stream, seq, cursor))

    @property
    def lacks_nodes(self) -> bool:
        """Whether entries of NODES are missing, and inventory was not asked since."""
        return self._unread_nodes_to > self._recalled_to

    def adopt(self, seq: int, nodes: Sequence[NodeView], now_ms: int) -> bool:
        """Take all nodes as inventory has them as of `seq`; False when NODES has been read
        further. Raises DatabaseBusy and Superseded."""
        with self._storing():
            if self.cursors[NODES] != seq:
                return False
            self.fleet.adopt(seq, nodes, now_ms)
            self._marks = {RECALLED: self._unread_nodes_to}
        self._recalled_to = self._unread_nodes_to
        return True

    @contextmanager
    def _storing(self) -> Iterator[Changes]:
        """What is folded inside is stored at the end, or forgotten."""
        changes = Changes()
        self._moved, self._marks, self._noted = {}, {}, []
        try:
            if not self._is_loaded:
                self._reload()
            yield changes
            self._store_all(changes)
        except BaseException as error:
            self._is_loaded = False  # what was folded may not have been stored
            if is_out(error):
                raise DatabaseBusy(str(error)) from error
            raise

    def _store_all(self, changes: Changes) -> None:
        counters = self._count(changes.usage)
        changes.counters = counters.values()
        changes.jobs, changes.leases, anomalies, changes.strays = self.history.take_changes()
        changes.anomalies = [*self._noted, *anomalies]
        changes.reserved, changes.agreed = self.allowances.take_changes()
        changes.demand = self._demand
        self._demand = []
        changes.node_changes, changes.nodes = self.fleet.take_changes()
        changes.cursors = self._moved | self._marks
        written = self._store.write(changes)
        self.cursors.update(self._moved)
        self._usage_time_ns = self._marks.get(USAGE_TIME, self._usage_time_ns)
        self._counters.update(counters)
        self._tally(written.segments, written.repeated, written.quarantined, written.anomalies)
        for found in changes.anomalies:
            log.error(found.sentence, extra={"code": found.code, "seq": found.seq})

    def _reload(self) -> None:
        loaded = self._store.load()
        self.history = History(loaded.jobs, loaded.leases, loaded.unread.get(JOBS, 0))
        self.allowances = Allowances()
        self._demand = []
        self.fleet = Fleet(loaded.nodes)
        self._counters: dict[CounterKey, Counter] = loaded.counters
        self.cursors = {stream: loaded.cursors.get(stream, 0) for stream in STREAMS}
        self._unread_nodes_to = loaded.unread.get(NODES, 0)
        self._recalled_to = loaded.cursors.get(RECALLED, 0)
        self._usage_time_ns = loaded.cursors.get(USAGE_TIME, 0)
        self._is_loaded = True

    def _unseen(self, stream: str, messages: Sequence[StoredMessage]) -> Sequence[StoredMessage]:
        cursor = self.cursors[stream]
        fresh = [message for message in messages if message.seq > cursor]
        for message in fresh:
            if message.seq != cursor + 1:
                self._miss(stream, cursor, message.seq - 1)
            cursor = message.seq
        self._moved[stream] = cursor
        return fresh

    def _miss(self, stream: str, cursor: int, upto_seq: int) -> None:
        """What follows `cursor` up to `upto_seq` was discarded unread."""
        self.totals.gaps += 1
        missing = f"{stream} {cursor + 1} to {upto_seq} are missing: {_MISSED[stream]}"
        self._note(stream, upto_seq, GAP, missing)
        if stream == JOBS:
            self.history.miss(upto_seq)
        elif stream == NODES:
            self._unread_nodes_to = upto_seq

    def _note(self, stream: str, seq: int, code: str, sentence: str) -> None:
        self._noted.append(Anomaly(stream, seq, code, sentence))

    def _fold_journal(
        self,
        messages: Sequence[StoredMessage],
        stream: str,
        decode: Callable[[StoredMessage], Committed | None],
        fold: History | Fleet,
    ) -> None:
        for message in self._unseen(stream, messages):
            entry = decode(message)
            if entry is None:
                self.totals.unreadable += 1
                sentence = f"entry {message.seq} of {stream} could not be read and was skipped"
                self._note(stream, message.seq, "unreadable_entry", sentence)
            else:
                fold.apply(entry.seq, entry.now_ns, entry.facts)
                if stream == JOBS:
                    self.allowances.apply(entry.seq, entry.facts)
                    self._note_demand(entry)

    def _note_demand(self, entry: Committed) -> None:
        at_ms = self._marks[JOBS_TIME] = entry.now_ns // NS_PER_MS
        for fact in entry.facts:
            if isinstance(fact, DemandNoted):
                self._demand.append(read_demand(entry.seq, at_ms, fact))

    def _read_usage(
        self, messages: Sequence[StoredMessage], rejected: list[Rejected]
    ) -> list[UsageMessage]:
        found = []
        for message in self._unseen(USAGE, messages):
            self._marks[USAGE_TIME] = message.time_ns
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
