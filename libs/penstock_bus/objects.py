"""How does a stream hold objects larger than a message?

Chunks first, then one record with size, chunk count and SHA-256: the name appears when that record
is stored. A replaced or abandoned upload of the same name is cleared by the next. One writer per
name. It does not know how a stream is reached."""

from __future__ import annotations

import base64
import hashlib

import msgspec

from penstock_bus.buckets import PAGE, Streams, check_bucket
from penstock_bus.port import BusRefusal

CHUNK_BYTES = 256 * 1024  # a quarter of the broker's default message limit
NAME_BYTES_MAX = 128
REPLACED_WHILE_READ_MAX = 3
CHECKSUM_MISMATCH = 1
UPLOAD_DIGITS = 16


class ObjectRecord(msgspec.Struct, frozen=True):
    """What is stored about an object; its chunks are on the subject that ends with `upload`."""

    name: str
    upload: str
    size: int
    chunks: int
    sha256: str
    first_seq: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ObjectRecord).decode


class ObjectsOverStreams:
    """The object half of the port, for adapters that have streams."""

    async def object_put(self: Streams, bucket: str, name: str, data: bytes) -> None:
        record_subject, chunks_prefix = _subjects(bucket, name)
        digest = hashlib.sha256(data).hexdigest()
        upload = digest[:UPLOAD_DIGITS]
        chunks = range(0, len(data), CHUNK_BYTES)
        first_seq = 0
        for start in chunks:
            stored = await self.append(
                f"{chunks_prefix}.{upload}", data[start : start + CHUNK_BYTES]
            )
            first_seq = first_seq or stored.seq
        record = ObjectRecord(name, upload, len(data), len(chunks), digest, first_seq)
        stored = await self.append(record_subject, _encode(record))
        stream = f"OBJ_{bucket}"
        await self.purge(stream, up_to_seq=stored.seq - 1, subject=record_subject)
        older_than = (first_seq or stored.seq) - 1
        await self.purge(stream, up_to_seq=older_than, subject=f"{chunks_prefix}.>")

    async def object_get(self: Streams, bucket: str, name: str) -> bytes | None:
        record_subject, chunks_prefix = _subjects(bucket, name)
        for _ in range(REPLACED_WHILE_READ_MAX):
            message = await self.read_last(f"OBJ_{bucket}", record_subject)
            if message is None:
                return None
            record = _decode(message.payload)
            data = await _read_chunks(self, bucket, f"{chunks_prefix}.{record.upload}", record)
            if data is not None:
                return data
        raise BusRefusal(CHECKSUM_MISMATCH, f"object {bucket}/{name} does not match its checksum")

    async def object_delete(self: Streams, bucket: str, name: str) -> None:
        record_subject, chunks_prefix = _subjects(bucket, name)
        await self.purge(f"OBJ_{bucket}", subject=record_subject)
        await self.purge(f"OBJ_{bucket}", subject=f"{chunks_prefix}.>")

    async def object_names(self: Streams, bucket: str) -> list[str]:
        check_bucket(bucket)
        names: set[str] = set()
        from_seq = 1
        while True:
            page = await self.read_many(f"OBJ_{bucket}", from_seq, f"$O.{bucket}.M.>", limit=PAGE)
            if not page:
                return sorted(names)
            names.update(_decode(message.payload).name for message in page)
            from_seq = page[-1].seq + 1


async def _read_chunks(
    streams: Streams, bucket: str, subject: str, record: ObjectRecord
) -> bytes | None:
    """The object's bytes, or None when they are not what the record says."""
    data = bytearray()
    from_seq = record.first_seq
    while len(data) < record.size:
        page = await streams.read_many(f"OBJ_{bucket}", from_seq, subject, limit=PAGE)
        if not page:
            return None
        for message in page:
            data += message.payload
        from_seq = page[-1].seq + 1
    if len(data) != record.size or hashlib.sha256(data).hexdigest() != record.sha256:
        return None
    return bytes(data)


def _subjects(bucket: str, name: str) -> tuple[str, str]:
    """(subject of the record, prefix of the chunks' subjects)"""
    check_bucket(bucket)
    raw = name.encode()
    if not 0 < len(raw) <= NAME_BYTES_MAX:
        raise BusRefusal(0, f"not an object name: {name!r}")
    token = base64.urlsafe_b64encode(raw).decode()
    return f"$O.{bucket}.M.{token}", f"$O.{bucket}.C.{token}"
