"""How do a job's files come into its directory, and leave it?

From the tenant's files in the depot, or from where the host's operator allows, with checksums both
ways. A file has its name when all of it is there and as it should be. It does not know when.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from penstock_contracts.depot import CHUNK_BYTES, FILE_BYTES_MAX, File
from penstock_contracts.leases import LeaseOrder
from penstock_contracts.work import OBJECT, Input, Output, StoredOutput
from penstock_node_agent.reaper.privileges import find
from penstock_node_agent.workplace.depot_link import AT_ONCE, DepotLink
from penstock_node_agent.workplace.mounted import split_place
from penstock_node_agent.workplace.unready import JOB, NODE, Unready
from penstock_node_agent.workplace.work_files import Ids, Incoming, NoFile, Outgoing, WorkFiles

BLOCK_BYTES = AT_ONCE * CHUNK_BYTES
UPLOAD_DIGITS = 32
FULL = (errno.ENOSPC, errno.EDQUOT)

T = TypeVar("T")
F = TypeVar("F", Incoming, Outgoing)

THREADS = ThreadPoolExecutor(max_workers=8, thread_name_prefix="files")
"""Of their own: a mount that hangs must not keep the agent from its devices."""

MISSING = "no_such_file"
WRONG = "wrong_checksum"
TOO_LARGE = "file_too_large"


class Files:
    """`prefixes`: below which of the host's directories jobs may read and write."""

    def __init__(self, depot: DepotLink, disk: WorkFiles, prefixes: Sequence[str]) -> None:
        self._depot, self._disk, self._prefixes = depot, disk, prefixes

    async def fetch(self, order: LeaseOrder, wanted: Input, work: str) -> None:
        """Lay it into the work directory. Raises Unready."""
        try:
            if wanted.source.startswith(OBJECT):
                await self._fetch_object(order, wanted, work)
            else:
                await self._fetch_mounted(order, wanted, work)
        except NoFile as error:
            raise Unready(MISSING, f"input {wanted.path}: {error}", JOB) from error
        except OSError as error:
            raise _of_disk(f"input {wanted.path}", error) from error

    async def store(self, order: LeaseOrder, wanted: Output, work: str) -> StoredOutput:
        """Take it from the work directory. Raises Unready."""
        try:
            async with _opened(self._disk.outgoing, work, wanted.path) as file:
                if order.user and file.links > 1:
                    raise Unready(MISSING, f"output {wanted.path} is linked elsewhere", JOB)
                if file.size > FILE_BYTES_MAX:
                    raise Unready(TOO_LARGE, f"output {wanted.path} is too large", JOB)
                if wanted.target.startswith(OBJECT):
                    digest = await self._store_object(order, wanted, file)
                else:
                    digest = await self._store_mounted(order, wanted, file)
                return StoredOutput(wanted.path, wanted.target, digest, file.size)
        except NoFile as error:
            raise Unready(MISSING, f"output {error}", JOB) from error
        except OSError as error:
            raise _of_disk(f"output {wanted.path}", error) from error

    async def _fetch_object(self, order: LeaseOrder, wanted: Input, work: str) -> None:
        name = wanted.source.removeprefix(OBJECT)
        found = await self._depot.find(order, name)
        if wanted.sha256 and found.sha256 != wanted.sha256:
            raise _wrong(wanted, found.sha256)
        owner = await _owner(order)
        async with _opened(self._disk.incoming, work, wanted.path, owner) as file:
            digest = hashlib.sha256()
            async for data in self._chunks(order, found):
                await _in_thread(_write, file, data, digest)
            if digest.hexdigest() != found.sha256 or file.size != found.bytes:
                raise Unready(WRONG, f"{wanted.source} changed while it was read", NODE)
            await _in_thread(file.keep)

    async def _chunks(self, order: LeaseOrder, found: File) -> AsyncIterator[bytes]:
        for first in range(0, found.chunks, AT_ONCE):
            indices = range(first, min(first + AT_ONCE, found.chunks))
            parts = await _all(self._depot.read(order, found, index) for index in indices)
            yield b"".join(parts)

    async def _fetch_mounted(self, order: LeaseOrder, wanted: Input, work: str) -> None:
        root, path = split_place(wanted.source, self._prefixes, order.tenant)
        owner = await _owner(order)
        async with (
            _opened(self._disk.outgoing, root, path) as source,
            _opened(self._disk.incoming, work, wanted.path, owner) as file,
        ):
            digest = await _copy(source, file)
            if wanted.sha256 and digest != wanted.sha256:
                raise _wrong(wanted, digest)
            await _in_thread(file.keep)

    async def _store_object(self, order: LeaseOrder, wanted: Output, file: Outgoing) -> str:
        """The same upload each time it is tried for this lease: a repeat writes the same."""
        name = wanted.target.removeprefix(OBJECT)
        seed = f"{order.key}/{wanted.path}/{wanted.target}"
        upload = hashlib.sha256(seed.encode()).hexdigest()[:UPLOAD_DIGITS]
        digest, count, size = hashlib.sha256(), 0, 0
        while block := await _in_thread(file.read, BLOCK_BYTES):
            digest.update(block)
            size += len(block)
            parts = [block[at : at + CHUNK_BYTES] for at in range(0, len(block), CHUNK_BYTES)]
            await _all(
                self._depot.write(order, name, upload, count + index, part)
                for index, part in enumerate(parts)
            )
            count += len(parts)
        kept = File(name=name, bytes=size, chunks=count, sha256=digest.hexdigest(), upload=upload)
        if size != file.size:
            raise Unready(MISSING, f"output {wanted.path} changed while it was stored", JOB)
        await self._depot.keep(order, kept)
        return kept.sha256

    async def _store_mounted(self, order: LeaseOrder, wanted: Output, file: Outgoing) -> str:
        root, path = split_place(wanted.target, self._prefixes, order.tenant)
        async with _opened(self._disk.incoming, root, path) as target:
            digest = await _copy(file, target)
            await _in_thread(target.keep_for_good)
            return digest


async def _all(work: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """All of it, side by side; the first failure ends the rest."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def _opened(make: Callable[..., F], *args: object) -> AsyncIterator[F]:
    """A file of the host; opening one and closing it may take as long as a mount likes."""
    opening = asyncio.get_running_loop().run_in_executor(THREADS, make, *args)
    try:
        file = await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait((opening,))
        if opening.exception() is None:
            await _in_thread(opening.result().close)
        raise
    try:
        yield file
    finally:
        await _in_thread(file.close)


async def _in_thread(act: Callable[..., T], *args: object) -> T:
    """A thread cannot be stopped: whoever is cancelled waits for it, so that no file is closed
    under its hands."""
    work = asyncio.get_running_loop().run_in_executor(THREADS, act, *args)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait((work,))
        work.exception()  # nobody will ask for it
        raise


async def _copy(source: Outgoing, target: Incoming) -> str:
    """Returns the checksum of what was copied. Raises Unready, OSError."""
    digest = hashlib.sha256()
    while data := await _in_thread(source.read, BLOCK_BYTES):
        await _in_thread(_write, target, data, digest)
        if target.size > FILE_BYTES_MAX:
            raise Unready(TOO_LARGE, f"a file may have {FILE_BYTES_MAX >> 30} GiB", JOB)
    return digest.hexdigest()


def _write(file: Incoming, data: bytes, digest: hashlib._Hash) -> None:
    digest.update(data)
    file.write(data)


async def _owner(order: LeaseOrder) -> Ids | None:
    """Whose inputs are: the user's as whom the job runs. Raises Unready."""
    if not order.user:
        return None
    try:
        return (await _in_thread(find, order.user))[1:3]
    except LookupError as error:
        raise Unready("no_such_user", str(error), NODE) from error


def _wrong(wanted: Input, found: str) -> Unready:
    sentence = f"{wanted.source} has the SHA-256 {found}, not {wanted.sha256}"
    return Unready(WRONG, sentence, JOB)


def _of_disk(what: str, error: OSError) -> Unready:
    code = "disk_full" if error.errno in FULL else "disk_failed"
    return Unready(code, f"{what}: {error.strerror or error}", NODE)
