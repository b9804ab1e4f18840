"""How are a tenant's files and secrets put and got?

Files in parts, several under way at once, with a checksum over all; a secret sealed before it
leaves. What nobody answers is asked again for a while. It does not know terminals.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from penstock_bus.port import Bus
from penstock_client.failures import Refused, Unavailable, refuse
from penstock_client.questions import ask_on
from penstock_client.subjects import subject_of
from penstock_contracts.depot import (
    CHUNK_BYTES,
    FILE_BYTES_MAX,
    SECRET_BYTES_MAX,
    Chunk,
    ChunkData,
    ChunkQuery,
    File,
    FileQuery,
    Files,
    FilesQuery,
    PutSecret,
    SealingKey,
    SecretNames,
    SecretQuery,
    SecretText,
    SecretView,
)
from penstock_contracts.queries import Empty

SERVICE = "gateway"
AT_ONCE = 8
ANSWER_S = 10.0
KEEP_S = 300.0
"""The depot reads all of a file before its name means it."""
PATIENCE_S = 30.0
RETRY_S = 0.5

T = TypeVar("T")


class Depot:
    """One tenant's."""

    def __init__(self, bus: Bus, tenant: str) -> None:
        self._bus, self._tenant = bus, tenant

    async def put(self, name: str, source: BinaryIO) -> File:
        """Keep what `source` gives under that name. Raises Refused, Unavailable, OSError."""
        upload, digest, size, count = secrets.token_hex(16), hashlib.sha256(), 0, 0
        _check(FileQuery(name))
        while block := await asyncio.to_thread(source.read, AT_ONCE * CHUNK_BYTES):
            digest.update(block)
            size += len(block)
            if size > FILE_BYTES_MAX:
                raise refuse("request_too_large", f"a file has {FILE_BYTES_MAX >> 30} GiB at most")
            cuts = [block[at : at + CHUNK_BYTES] for at in range(0, len(block), CHUNK_BYTES)]
            parts = (Chunk(name, upload, count + at, cut) for at, cut in enumerate(cuts))
            await _all(self._ask("write", part, Empty) for part in parts)
            count += len(cuts)
        record = File(name=name, bytes=size, chunks=count, sha256=digest.hexdigest(), upload=upload)
        return await self._ask("keep", record, File, KEEP_S)

    async def get(self, name: str, target: BinaryIO) -> File:
        """Write the file to `target`; whoever calls drops that when this raises. Raises Refused,
        Unavailable, OSError."""
        found, digest = await self.find(name), hashlib.sha256()
        for first in range(0, found.chunks, AT_ONCE):
            wanted = range(first, min(first + AT_ONCE, found.chunks))
            parts = (ChunkQuery(found.name, found.upload, index) for index in wanted)
            for part in await _all(self._ask("read", each, ChunkData) for each in parts):
                digest.update(part.data)
                await asyncio.to_thread(target.write, part.data)
        if digest.hexdigest() != found.sha256:
            raise refuse("file_incomplete", f"{name!r} is not what its record says; try again")
        return found

    async def find(self, name: str) -> File:
        return await self._ask("find", FileQuery(name), File)

    async def files(self) -> list[File]:
        """All, in the order of their names."""
        found: list[File] = []
        while True:
            after = found[-1].name if found else ""
            page = await self._ask("list", FilesQuery(after), Files)
            found += page.files
            if not page.more:
                return found

    async def remove(self, name: str) -> None:
        await self._ask("remove", FileQuery(name), Empty)

    async def set_secret(self, name: str, text: str) -> None:
        """Nobody on the way can read it, and nobody can ask for it but jobs that name it."""
        from nacl.public import PublicKey, SealedBox

        if not text or len(text.encode()) > SECRET_BYTES_MAX:
            raise refuse("invalid_field", f"a secret has 1 to {SECRET_BYTES_MAX} bytes", "text")
        _check(SecretQuery(name))
        key = await self._patiently(subject_of("depot_key"), Empty(), SealingKey, ANSWER_S)
        whole = msgspec.json.encode(SecretText(self._tenant, name, text))
        sealed = SealedBox(PublicKey(key.key)).encrypt(whole)
        await self._ask("put_secret", PutSecret(name, sealed), Empty)

    async def secrets(self) -> tuple[SecretView, ...]:
        return (await self._ask("secrets", Empty(), SecretNames)).secrets

    async def remove_secret(self, name: str) -> None:
        await self._ask("remove_secret", SecretQuery(name), Empty)

    async def _ask(
        self, verb: str, payload: Any, answer: type[T], timeout_s: float = ANSWER_S
    ) -> T:
        subject = subject_of(f"depot_{verb}", tenant=self._tenant)
        return await self._patiently(subject, payload, answer, timeout_s)

    async def _patiently(self, subject: str, payload: Any, answer: type[T], timeout_s: float) -> T:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + PATIENCE_S
        while True:
            try:
                return await ask_on(self._bus, subject, SERVICE, payload, answer, timeout_s)
            except Unavailable:
                if loop.time() >= until_s:
                    raise
            except Refused as error:
                if error.refusal.code != "unavailable" or loop.time() >= until_s:
                    raise
            await asyncio.sleep(RETRY_S)


async def put_path(depot: Depot, name: str, path: Path) -> File:
    with path.open("rb") as source:
        return await depot.put(name, source)


async def get_path(depot: Depot, name: str, path: Path) -> File:
    """The file appears when all of it is there."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as target:
            found = await depot.get(name, target)
        part.replace(path)
        return found
    finally:
        part.unlink(missing_ok=True)


async def _all(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All of it side by side; the first failure ends the rest."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _check(question: FileQuery | SecretQuery) -> None:
    """By the contract's own rules, before anything leaves."""
    try:
        msgspec.convert(msgspec.to_builtins(question), type(question))
    except msgspec.ValidationError as error:
        raise refuse("invalid_field", f"{question.name[:80]!r} is no name: {error}") from error
