"""What may a service ask of the bus?

The narrow port between Penstock and its message broker: core publish and request-reply, fenced
appends to streams, ordered readers with cursors the caller keeps, direct reads, purges, a small
key-value store with compare-and-set, and objects. Two adapters pass one conformance suite: `nats`
(the real broker) and `memory` (an in-process twin with faults). It does not know what the messages
mean."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from penstock_contracts.streams import StreamConfig

Headers = Mapping[str, str]


class Message(msgspec.Struct, frozen=True):
    """One message as it arrived. `reply` is empty when nobody waits for an answer."""

    subject: str
    payload: bytes
    reply: str = ""
    headers: Mapping[str, str] | None = None


class StoredMessage(msgspec.Struct, frozen=True):
    """One message of a stream: `seq` counts from 1; `time_ns` is the broker's clock."""

    subject: str
    payload: bytes
    seq: int
    time_ns: int
    headers: Mapping[str, str] | None = None


class Appended(msgspec.Struct, frozen=True):
    """The broker has stored the message at `seq`; `duplicate` when its id was known already."""

    stream: str
    seq: int
    duplicate: bool = False


class StreamState(msgspec.Struct, frozen=True):
    """`last_seq` is 0 for an empty stream; `first_seq` is `last_seq + 1` when all was purged."""

    first_seq: int
    last_seq: int
    messages: int
    bytes: int


class KeyValue(msgspec.Struct, frozen=True):
    """A value of a bucket and the revision that a compare-and-set names. Deleted keys are
    absent."""

    key: str
    value: bytes
    revision: int


class Outage(Exception):
    """The broker did not answer in time or is not connected. Whether the effect happened is
    unknown; repeating is safe only for idempotent operations. `retry_helps` is always true."""


class WrongSequence(Exception):
    """An append was refused (code 10071): `expected_last_seq` is not the stream's last sequence."""


class WrongRevision(Exception):
    """A key-value write was refused: the key's revision is not the expected one."""


class BusRefusal(Exception):
    """The broker refused for a reason that repeating does not mend (size, permission, full
    stream)."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description


class NoResponders(Outage):
    """A request found nobody subscribed, or an append no stream that takes its subject."""


class StreamRewound(Exception):
    """The stream no longer reaches the reader's cursor, or was made anew: the broker has lost what
    was read before. Raised by `next_batch` for streams on disk only (a reader of a memory stream
    starts again with what the new stream holds). Whoever keeps a cursor must decide what that
    means."""


class Subscription(Protocol):
    async def close(self) -> None: ...


class Reader(Protocol):
    """Delivers every message of a stream in order, from a sequence on, without gap or repeat,
    across reconnects. `next_batch` waits for at least one message and returns all that have arrived
    (at most 500), so that the caller never pays a task per message."""

    async def next_batch(self) -> list[StoredMessage]: ...

    def take_ready(self) -> list[StoredMessage]:
        """What has arrived already, possibly nothing; never waits."""
        ...

    async def close(self) -> None: ...


class Bus(Protocol):
    # -- core --------------------------------------------------------------------------------------
    async def publish(self, subject: str, payload: bytes, headers: Headers | None = None) -> None:
        """Fire and forget: buffered, at most once. Raises Outage when disconnected."""
        ...

    def publish_nowait(self, subject: str, payload: bytes, headers: Headers | None = None) -> None:
        """`publish` for the hot path: never waits. Raises Outage when disconnected or when the
        broker takes nothing more (a bounded amount may be unsent)."""
        ...

    async def request(
        self, subject: str, payload: bytes, *, timeout_s: float, headers: Headers | None = None
    ) -> Message:
        """One answer, or NoResponders / Outage."""
        ...

    def request_nowait(
        self,
        subject: str,
        payload: bytes,
        on_done: Callable[[Message | Exception], None],
        *,
        timeout_s: float,
        headers: Headers | None = None,
    ) -> None:
        """`request` for the hot path: no task per message. `on_done` is called exactly once, never
        before this returns, with the answer or with what `request` would have raised; it must not
        raise."""
        ...

    async def respond(self, message: Message, payload: bytes) -> None:
        """Answers `message.reply` when it begins `_INBOX` or `_R_`; other replies are dropped and
        counted (a forged reply subject must not make a service publish where the sender may
        not)."""
        ...

    def respond_nowait(self, message: Message, payload: bytes) -> None:
        """`respond` for plain handlers: never waits; a lost connection drops the answer
        (counted)."""
        ...

    async def subscribe(
        self,
        subject: str,
        handler: Callable[[Message], None],
        *,
        queue: str = "",
    ) -> Subscription:
        """Calls the plain (not async) handler for each message. The subscription is known to the
        broker when this returns. A handler that raises is logged and counted; the subscription
        lives on."""
        ...

    # -- streams -----------------------------------------------------------------------------------
    async def append(
        self,
        subject: str,
        payload: bytes,
        *,
        expected_last_seq: int | None = None,
        message_id: str | None = None,
        headers: Headers | None = None,
        timeout_s: float = 5.0,
    ) -> Appended:
        """Stores one message and waits for the acknowledgement. Raises WrongSequence, BusRefusal,
        Outage."""
        ...

    def append_nowait(
        self,
        subject: str,
        payload: bytes,
        on_done: Callable[[Appended | Exception], None],
        *,
        expected_last_seq: int | None = None,
        message_id: str | None = None,
        headers: Headers | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        """`append` for the hot path: no task and no timer per message. `on_done` is called exactly
        once, never before this returns, with the acknowledgement or with what `append` would have
        raised (after a lost connection at once, with Outage); it must not raise."""
        ...

    async def reader(self, stream: str, *, after_seq: int, subject: str = "") -> Reader:
        """Everything of `stream` behind `after_seq` (0 = from the start), optionally of one subject
        filter."""
        ...

    async def read(self, stream: str, seq: int) -> StoredMessage | None:
        """None = not there. A replica may answer that lags behind, here and in the next three: who
        knows from elsewhere that the message exists asks again."""
        ...

    async def read_last(self, stream: str, subject: str) -> StoredMessage | None: ...

    async def read_next(self, stream: str, from_seq: int, subject: str) -> StoredMessage | None:
        """The first message with sequence ≥ `from_seq` whose subject matches the filter
        `subject`."""
        ...

    async def read_many(
        self, stream: str, from_seq: int, subject: str, *, limit: int = 256
    ) -> list[StoredMessage]:
        """Up to `limit` (at most 1,000) messages as `read_next` would give them one by one, in one
        question; [] at the end. Not through an account import, which passes one reply only unless
        its export says `response_type: stream`."""
        ...

    async def purge(self, stream: str, *, up_to_seq: int | None = None, subject: str = "") -> None:
        """Discards every message with sequence ≤ `up_to_seq` (None = all), of one subject filter
        when given. Sequences are never given out again."""
        ...

    async def stream_state(self, stream: str, *, at_least: int = 0) -> StreamState:
        """As the stream's leader says. For some seconds after an election an old leader may still
        answer, or a new one that does not know all yet: who knows that the stream has reached
        `at_least` has a replicated stream asked again before less is believed."""
        ...

    async def ensure_streams(self, streams: Sequence[StreamConfig]) -> None:
        """Creates or updates the streams; safe to repeat and to race."""
        ...

    async def ensure_buckets(self, names: Sequence[str], *, objects: bool = False) -> None:
        """Creates the key-value buckets (or, with `objects`, object buckets); safe to repeat."""
        ...

    # -- small state -------------------------------------------------------------------------------
    async def kv_get(self, bucket: str, key: str) -> KeyValue | None:
        """Buckets, other than streams, are read from their leader."""
        ...

    async def kv_put(
        self, bucket: str, key: str, value: bytes, *, expected_revision: int | None = None
    ) -> int:
        """Returns the new revision. `expected_revision=0` creates; WrongRevision when it does not
        match."""
        ...

    async def kv_all(self, bucket: str) -> list[KeyValue]: ...

    async def kv_delete(self, bucket: str, key: str) -> None: ...

    async def object_put(self, bucket: str, name: str, data: bytes) -> None:
        """Stored in chunks with a checksum; the name appears only when all of it is stored."""
        ...

    async def object_get(self, bucket: str, name: str) -> bytes | None:
        """None when absent; raises BusRefusal when the checksum does not match."""
        ...

    async def object_delete(self, bucket: str, name: str) -> None: ...

    async def object_names(self, bucket: str) -> list[str]: ...

    # -- life --------------------------------------------------------------------------------------
    @property
    def counters(self) -> Mapping[str, int]:
        """What went wrong so far, by name (`reconnects`, `slow_consumers`, `permission_refusals`,
        `forged_replies`, `handler_failures`, …), for the process's metrics."""
        ...

    @property
    def connected(self) -> bool: ...

    def on_reconnect(self, handler: Callable[[], Awaitable[None]]) -> None: ...

    async def close(self) -> None: ...
