"""How does a stream serve as a key-value bucket?

The layout of NATS's own buckets (ADR-8: stream `KV_<bucket>`, subject `$KV.<bucket>.<key>`,
deletion as a marker) over any bus that has streams, so that both adapters mean the same by it. It
does not know how a stream is reached."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from penstock_bus.port import (
    Appended,
    BusRefusal,
    Headers,
    KeyValue,
    StoredMessage,
    WrongRevision,
    WrongSequence,
)
from penstock_contracts.streams import FILES, StreamConfig

BUCKET_BYTES_MAX = 64 * 1024 * 1024
OBJECT_BUCKET_BYTES_MAX = 1024 * 1024 * 1024
BYTES_MAX_OF = {FILES: 16 * OBJECT_BUCKET_BYTES_MAX}
PAGE = 256
EXPECTED_SUBJECT_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
OPERATION = "KV-Operation"
MARKER = "Nats-Marker-Reason"

_BUCKET = re.compile(r"[A-Za-z0-9_-]+")
_KEY = re.compile(r"[-/_=.a-zA-Z0-9]+")


class Streams(Protocol):
    """The part of the port that buckets stand on."""

    async def append(
        self, subject: str, payload: bytes, *, headers: Headers | None = None
    ) -> Appended: ...

    async def read_last(self, stream: str, subject: str) -> StoredMessage | None: ...

    async def read_many(
        self, stream: str, from_seq: int, subject: str, *, limit: int = 256
    ) -> list[StoredMessage]: ...

    async def purge(
        self, stream: str, *, up_to_seq: int | None = None, subject: str = ""
    ) -> None: ...


def streams_of(names: Sequence[str], *, objects: bool) -> list[StreamConfig]:
    """The streams behind buckets of these names."""
    for name in names:
        check_bucket(name)
    if objects:
        return [
            StreamConfig(
                name=f"OBJ_{name}", subjects=(f"$O.{name}.>",),
                max_bytes=BYTES_MAX_OF.get(name, OBJECT_BUCKET_BYTES_MAX), discard_new=True,
            )
            for name in names
        ]  # fmt: skip
    return [
        StreamConfig(
            name=f"KV_{name}", subjects=(f"$KV.{name}.>",), max_bytes=BUCKET_BYTES_MAX,
            max_messages_per_subject=1, discard_new=True,
        )
        for name in names
    ]  # fmt: skip


def check_bucket(bucket: str) -> None:
    if _BUCKET.fullmatch(bucket) is None:
        raise BusRefusal(0, f"not a bucket name: {bucket!r}")


def _subject(bucket: str, key: str) -> str:
    check_bucket(bucket)
    if _KEY.fullmatch(key) is None or key[0] == "." or key[-1] == "." or ".." in key:
        raise BusRefusal(0, f"not a key: {key!r}")
    return f"$KV.{bucket}.{key}"


def is_deleted(headers: Mapping[str, str] | None) -> bool:
    """Deleted, purged, or expired (the broker then leaves a marker of its own)."""
    return headers is not None and (headers.get(OPERATION) in ("DEL", "PURGE") or MARKER in headers)


class KeyValueOverStreams:
    """The key-value half of the port, for adapters that have streams."""

    async def kv_get(self: Streams, bucket: str, key: str) -> KeyValue | None:
        message = await self.read_last(f"KV_{bucket}", _subject(bucket, key))
        if message is None or is_deleted(message.headers):
            return None
        return KeyValue(key, message.payload, message.seq)

    async def kv_put(
        self: Streams, bucket: str, key: str, value: bytes, *, expected_revision: int | None = None
    ) -> int:
        subject = _subject(bucket, key)
        if expected_revision is None:
            return (await self.append(subject, value)).seq
        try:
            return await _put_expecting(self, subject, value, expected_revision)
        except WrongSequence as error:
            if expected_revision != 0:
                raise WrongRevision(f"{bucket}/{key} is not at {expected_revision}") from error
        last = await self.read_last(f"KV_{bucket}", subject)
        if last is not None and not is_deleted(last.headers):
            raise WrongRevision(f"{bucket}/{key} exists already, at {last.seq}")
        try:
            # A marker of deletion holds the place: create over it.
            return await _put_expecting(self, subject, value, 0 if last is None else last.seq)
        except WrongSequence as error:
            raise WrongRevision(f"{bucket}/{key} was created meanwhile") from error

    async def kv_all(self: Streams, bucket: str) -> list[KeyValue]:
        check_bucket(bucket)
        prefix_length = len(f"$KV.{bucket}.")
        values: dict[str, KeyValue | None] = {}
        from_seq = 1
        while True:
            page = await self.read_many(f"KV_{bucket}", from_seq, f"$KV.{bucket}.>", limit=PAGE)
            if not page:
                return sorted((v for v in values.values() if v is not None), key=lambda v: v.key)
            for message in page:
                key = message.subject[prefix_length:]
                deleted = is_deleted(message.headers)
                values[key] = None if deleted else KeyValue(key, message.payload, message.seq)
            from_seq = page[-1].seq + 1

    async def kv_delete(self: Streams, bucket: str, key: str) -> None:
        await self.append(_subject(bucket, key), b"", headers={OPERATION: "DEL"})


async def _put_expecting(streams: Streams, subject: str, value: bytes, revision: int) -> int:
    headers = {EXPECTED_SUBJECT_SEQUENCE: str(revision)}
    return (await streams.append(subject, value, headers=headers)).seq
