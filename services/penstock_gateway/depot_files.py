"""How are tenants' files kept?

In the object bucket FILES: a record per name, parts on a subject per upload, and a note that an
upload has begun. The name appears, or means something else, when all parts are there and their
checksum is right; what it meant before goes then. An upload that was never finished goes after a
day. It does not know who may ask.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable

import msgspec

from penstock_bus.port import Bus, BusRefusal, StoredMessage
from penstock_contracts.depot import (
    CHUNK_BYTES,
    PAGE_FILES,
    Chunk,
    ChunkData,
    ChunkQuery,
    File,
    Files,
)
from penstock_contracts.streams import FILES
from penstock_gateway.refused import Refused

STREAM = f"OBJ_{FILES}"
ROOT = f"$O.{FILES}"
READ_AT_ONCE = 16
PAGE = 256
FILES_PER_TENANT_MAX = 10_000
TENANT_BYTES_MAX = 8 << 30
"""Half of what the bucket holds: no tenant alone fills it."""
UNFINISHED_S_MAX = 86_400

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(File).decode


class FileKeeper:
    """`now_ns`: server time."""

    def __init__(self, bus: Bus, now_ns: Callable[[], int]) -> None:
        self._bus, self._now_ns = bus, now_ns

    async def find(self, tenant: str, name: str) -> File:
        """Raises Refused, Outage, as all of these."""
        found = await self._record(tenant, name)
        if found is None:
            raise Refused("no_such_file", f"there is no file {name!r}")
        return _decode(found.payload)

    async def names(self, tenant: str, after: str) -> Files:
        behind = [file for file in await self._all(tenant) if file.name > after]
        return Files(tuple(behind[:PAGE_FILES]), more=len(behind) > PAGE_FILES)

    async def read(self, tenant: str, part: ChunkQuery) -> ChunkData:
        found = await self._bus.read_last(STREAM, f"{_parts(tenant, part)}.{part.index}")
        if found is None:
            raise Refused("file_incomplete", f"part {part.index} of {part.name!r} is not there")
        return ChunkData(found.payload)

    async def write(self, tenant: str, part: Chunk) -> None:
        if part.index == 0:
            await self._begin(tenant, part)
        await self._append(f"{_parts(tenant, part)}.{part.index}", part.data)

    async def keep(self, tenant: str, file: File) -> File:
        """The name means this upload now. Repeating is harmless."""
        before = await self._record(tenant, file.name)
        old = None if before is None else _decode(before.payload)
        if old is not None and old.upload == file.upload and old.sha256 == file.sha256:
            return old
        await self._check(tenant, file)
        kept = msgspec.structs.replace(file, stored_ms=self._now_ns() // 1_000_000)
        seq = await self._append(_record_of(tenant, file.name), _encode(kept))
        await self._bus.purge(STREAM, up_to_seq=seq - 1, subject=_record_of(tenant, file.name))
        if old is not None and old.upload != file.upload:
            await self._drop_upload(tenant, old.name, old.upload)
        return kept

    async def remove(self, tenant: str, name: str) -> None:
        await self.find(tenant, name)
        token = _token(name)
        for what in (f"M.{tenant}.{token}", f"C.{tenant}.{token}.>", f"U.{tenant}.{token}.>"):
            await self._bus.purge(STREAM, subject=f"{ROOT}.{what}")

    async def sweep(self) -> int:
        """Drop uploads that no name means, a day after they began; returns how many."""
        oldest_ns, dropped = self._now_ns() - UNFINISHED_S_MAX * 1_000_000_000, 0
        for note in await self._pages(f"{ROOT}.U.>"):
            if note.time_ns > oldest_ns:
                continue
            tenant, token, upload = note.subject.removeprefix(f"{ROOT}.U.").split(".")
            found = await self._bus.read_last(STREAM, f"{ROOT}.M.{tenant}.{token}")
            if found is None or _decode(found.payload).upload != upload:
                await self._drop(tenant, token, upload)
                dropped += 1
        return dropped

    async def _begin(self, tenant: str, part: Chunk) -> None:
        files = await self._all(tenant)
        if len(files) >= FILES_PER_TENANT_MAX and part.name not in {file.name for file in files}:
            raise Refused("depot_full", f"a tenant may keep {FILES_PER_TENANT_MAX} files")
        if sum(file.bytes for file in files) >= TENANT_BYTES_MAX:
            raise Refused("depot_full", f"a tenant may keep {TENANT_BYTES_MAX >> 30} GiB of files")
        await self._append(f"{ROOT}.U.{tenant}.{_token(part.name)}.{part.upload}", b"{}")

    async def _check(self, tenant: str, file: File) -> None:
        """All of it is there, and as its record says."""
        digest, size = hashlib.sha256(), 0
        for first in range(0, file.chunks, READ_AT_ONCE):
            indices = range(first, min(first + READ_AT_ONCE, file.chunks))
            wanted = [ChunkQuery(file.name, file.upload, index) for index in indices]
            for part in await asyncio.gather(*(self.read(tenant, one) for one in wanted)):
                digest.update(part.data)
                size += len(part.data)
        if (size, digest.hexdigest()) != (file.bytes, file.sha256):
            raise Refused("file_incomplete", f"{file.name!r} is not what its record says")
        room = (file.chunks - 1) * CHUNK_BYTES
        if file.chunks and not room < file.bytes <= room + CHUNK_BYTES:
            raise Refused("file_incomplete", f"{file.name!r} is not cut into parts as it should be")

    async def _append(self, subject: str, data: bytes) -> int:
        try:
            return (await self._bus.append(subject, data)).seq
        except BusRefusal as error:
            raise Refused("depot_full", f"the broker takes no more: {error.description}") from error

    async def _record(self, tenant: str, name: str) -> StoredMessage | None:
        return await self._bus.read_last(STREAM, _record_of(tenant, name))

    async def _all(self, tenant: str) -> list[File]:
        """In the order of their names."""
        newest: dict[str, File] = {}
        for message in await self._pages(f"{ROOT}.M.{tenant}.>"):
            file = _decode(message.payload)
            newest[file.name] = file
        return sorted(newest.values(), key=lambda file: file.name)

    async def _pages(self, subject: str) -> list[StoredMessage]:
        found: list[StoredMessage] = []
        from_seq = 1
        while page := await self._bus.read_many(STREAM, from_seq, subject, limit=PAGE):
            found += page
            from_seq = page[-1].seq + 1
        return found

    async def _drop_upload(self, tenant: str, name: str, upload: str) -> None:
        await self._drop(tenant, _token(name), upload)

    async def _drop(self, tenant: str, token: str, upload: str) -> None:
        await self._bus.purge(STREAM, subject=f"{ROOT}.C.{tenant}.{token}.{upload}.>")
        await self._bus.purge(STREAM, subject=f"{ROOT}.U.{tenant}.{token}.{upload}")


def _record_of(tenant: str, name: str) -> str:
    return f"{ROOT}.M.{tenant}.{_token(name)}"


def _parts(tenant: str, part: Chunk | ChunkQuery) -> str:
    return f"{ROOT}.C.{tenant}.{_token(part.name)}.{part.upload}"


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()
