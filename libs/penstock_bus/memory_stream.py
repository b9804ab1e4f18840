"""What does one stream of the in-memory twin hold?

Limits, discard policies, fencing, the window of known message ids, purges and reads, as the real
broker has them. It does not know time (each call is given it), clients or delivery."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping

from penstock_bus import wire
from penstock_bus.buckets import EXPECTED_SUBJECT_SEQUENCE
from penstock_bus.port import Appended, BusRefusal, StoredMessage, StreamState, WrongSequence
from penstock_bus.subjects import is_pattern, matches
from penstock_contracts.streams import StreamConfig

ERROR_STORAGE_CHANGED = 10052
RECORD_BYTES = 30  # what the broker's file store adds to each message
HEADER_BYTES = 4
NANOSECONDS = 1_000_000_000
FILTERS_REMEMBERED = 10_000


class MemoryStream:
    def __init__(self, config: StreamConfig, created_ns: int) -> None:
        self.config = config
        self.created_ns = created_ns
        self.last_seq = 0
        self.synced_seq = 0  # what a crash that loses unsynced data leaves
        self._bytes = 0
        self._messages: dict[int, StoredMessage] = {}
        self._seqs: list[int] = []  # sorted
        self._by_subject: dict[str, list[int]] = {}  # sorted
        self._known_ids: dict[str, tuple[int, int]] = {}  # id -> (seq, time_ns), oldest first
        self._without: dict[str, tuple[int, int]] = {}  # filter -> from where to where it has none

    def reconfigure(self, config: StreamConfig) -> None:
        if config.memory != self.config.memory:
            raise BusRefusal(ERROR_STORAGE_CHANGED, "stream configuration update can not change it")
        self.config = config

    def takes(self, subject: str) -> bool:
        return any(matches(pattern, subject) for pattern in self.config.subjects)

    # -- writing --------------------------------------------------------------------------------
    def append(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None, now_ns: int
    ) -> Appended:
        """Raises WrongSequence or BusRefusal."""
        self.expire(now_ns)
        headers = headers or {}
        self._check_expectations(subject, headers)
        message_id = headers.get(wire.HEADER_MESSAGE_ID)
        if message_id is not None and message_id in self._known_ids:
            return Appended(self.config.name, self._known_ids[message_id][0], duplicate=True)
        size = _size(subject, payload, headers)
        self._check_size(subject, payload, headers)
        self._make_room(subject, size)
        self.last_seq += 1
        message = StoredMessage(subject, payload, self.last_seq, now_ns, dict(headers) or None)
        self._messages[message.seq] = message
        self._seqs.append(message.seq)
        self._by_subject.setdefault(subject, []).append(message.seq)
        self._bytes += size
        if message_id is not None:
            self._known_ids[message_id] = (message.seq, now_ns)
        return Appended(self.config.name, message.seq)

    def _check_expectations(self, subject: str, headers: Mapping[str, str]) -> None:
        expected = headers.get(wire.HEADER_EXPECTED_LAST_SEQUENCE)
        if expected is not None and int(expected) != self.last_seq:
            raise WrongSequence(f"{subject}: wrong last sequence: {self.last_seq}")
        expected = headers.get(EXPECTED_SUBJECT_SEQUENCE)
        if expected is not None:
            last = self._by_subject.get(subject, [0])[-1]
            if int(expected) != last:
                raise WrongSequence(f"{subject}: wrong last sequence: {last}")

    def _check_size(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> None:
        bound = self.config.max_message_bytes
        head = len(wire.encode_headers(headers)) if headers else 0
        if bound is not None and len(payload) + head > bound:
            raise BusRefusal(wire.ERROR_TOO_LARGE, f"{subject}: larger than {bound} bytes")

    def _make_room(self, subject: str, size: int) -> None:
        config = self.config
        of_subject = self._by_subject.get(subject, [])
        per_subject = config.max_messages_per_subject
        if per_subject is not None and len(of_subject) >= per_subject:
            if config.discard_new_per_subject:
                raise _full(subject, "maximum messages per subject exceeded")
            replaced = sum(
                _message_size(self._messages[seq])
                for seq in of_subject[: len(of_subject) - per_subject + 1]
            )
        else:
            replaced = 0
        if self._bytes - replaced + size > config.max_bytes:
            if config.discard_new or config.discard_new_per_subject:
                raise _full(subject, "maximum bytes exceeded")
            while self._seqs and self._bytes + size > config.max_bytes:
                self._remove(self._seqs[0])
        if per_subject is not None:
            while len(self._by_subject.get(subject, [])) >= per_subject:
                self._remove(self._by_subject[subject][0])

    def purge(self, up_to_seq: int | None, subject: str) -> None:
        bound = self.last_seq if up_to_seq is None else up_to_seq
        for seq in [
            seq
            for seq in self._seqs
            if seq <= bound and (not subject or matches(subject, self._messages[seq].subject))
        ]:
            self._remove(seq)

    def expire(self, now_ns: int) -> None:
        """Lets go of what is too old: messages by `max_age_s`, ids by `duplicate_window_s`."""
        if self.config.max_age_s is not None:
            oldest_ns = now_ns - self.config.max_age_s * NANOSECONDS
            while self._seqs and self._messages[self._seqs[0]].time_ns < oldest_ns:
                self._remove(self._seqs[0])
        window_ns = self.config.duplicate_window_s * NANOSECONDS
        for message_id, (_, time_ns) in list(self._known_ids.items()):
            if time_ns >= now_ns - window_ns:
                break
            del self._known_ids[message_id]

    def lose_unsynced(self) -> None:
        """What a power failure does to a broker that does not sync every write."""
        for seq in [seq for seq in self._seqs if seq > self.synced_seq]:
            self._remove(seq)
        self.last_seq = min(self.last_seq, self.synced_seq)
        self._without.clear()
        self._known_ids = {k: v for k, v in self._known_ids.items() if v[0] <= self.last_seq}

    def _remove(self, seq: int) -> None:
        message = self._messages.pop(seq)
        del self._seqs[bisect_left(self._seqs, seq)]
        of_subject = self._by_subject[message.subject]
        del of_subject[bisect_left(of_subject, seq)]
        if not of_subject:
            del self._by_subject[message.subject]
        self._bytes -= _message_size(message)

    # -- reading --------------------------------------------------------------------------------
    def state(self) -> StreamState:
        first_seq = self._seqs[0] if self._seqs else self.last_seq + 1
        return StreamState(first_seq, self.last_seq, len(self._seqs), self._bytes)

    def read(self, seq: int) -> StoredMessage | None:
        return self._messages.get(seq)

    def read_last(self, subject: str) -> StoredMessage | None:
        if not is_pattern(subject):
            of_subject = self._by_subject.get(subject)
            return self._messages[of_subject[-1]] if of_subject else None
        for seq in reversed(self._seqs):
            if matches(subject, self._messages[seq].subject):
                return self._messages[seq]
        return None

    def scan(self, from_seq: int, subject: str) -> Iterator[StoredMessage]:
        """Messages from `from_seq` on, in order, of one subject filter ("" = all). Where one was
        looked for in vain is not looked again: many ask again and again for what comes next."""
        none_from, none_to = self._without.get(subject, (0, -1))
        if none_from <= from_seq <= none_to:
            from_seq = none_to + 1
        else:
            none_from = from_seq
        for index in range(bisect_left(self._seqs, from_seq), len(self._seqs)):
            message = self._messages[self._seqs[index]]
            if not subject or matches(subject, message.subject):
                none_from = message.seq + 1
                yield message
        if subject and none_from <= self.last_seq:
            if len(self._without) >= FILTERS_REMEMBERED:
                self._without.clear()
            self._without[subject] = (none_from, self.last_seq)


def _full(subject: str, reason: str) -> BusRefusal:
    return BusRefusal(wire.ERROR_STORE_FAILED, f"{subject}: {reason}")


def _message_size(message: StoredMessage) -> int:
    return _size(message.subject, message.payload, message.headers or {})


def _size(subject: str, payload: bytes, headers: Mapping[str, str]) -> int:
    head = len(wire.encode_headers(headers)) + HEADER_BYTES if headers else 0
    return RECORD_BYTES + len(subject) + head + len(payload)
