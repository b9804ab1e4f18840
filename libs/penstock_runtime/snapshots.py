"""Where does a service keep its state apart from the journal?

Snapshots in an object bucket, the newest two of a service, each named by the journal sequence
it stands for, with a header and a checksum of its own. It does not know what the state means.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import AsyncIterator

import msgspec

from penstock_bus.port import Bus, BusRefusal
from penstock_contracts.errors import MALFORMED
from penstock_runtime.entries import encode_json

log = logging.getLogger(__name__)

BUCKET = "SNAPSHOTS"
FORMAT = 1


class SnapshotHeader(msgspec.Struct, frozen=True, kw_only=True):
    """`seq` to `cursors`, and `marks`, are those of the last journal entry that is in it."""

    format: int = FORMAT
    service: str
    seq: int
    term: int
    now_ns: int
    cursors: dict[str, int]
    size_bytes: int
    crc32: int
    marks: dict[str, int] = {}


_decode_header = msgspec.json.Decoder(SnapshotHeader).decode


class SnapshotStore:
    """The snapshots of one service."""

    def __init__(self, bus: Bus, service: str) -> None:
        self._bus = bus
        self._service = service

    async def write(
        self,
        data: bytes,
        *,
        seq: int,
        term: int,
        now_ns: int,
        cursors: dict[str, int],
        marks: dict[str, int],
        before_seq: int,
    ) -> None:
        """Store a snapshot and drop those that are older than the one at `before_seq`: the newest
        may turn out damaged, and the one before it, which was found whole or written by us, must
        lead to the same state. When the broker has lost that one, none is dropped."""
        header = SnapshotHeader(
            service=self._service,
            seq=seq,
            term=term,
            now_ns=now_ns,
            cursors=cursors,
            marks=marks,
            size_bytes=len(data),
            crc32=zlib.crc32(data),
        )
        name = f"{self._service}.{seq:020d}"
        await self._bus.object_put(BUCKET, name, encode_json(header) + b"\n" + data)
        oldest = f"{self._service}.{before_seq:020d}"
        names = await self._names()
        if oldest not in names:
            return
        for old in names:
            if old < oldest:
                await self._bus.object_delete(BUCKET, old)

    async def seqs(self) -> list[int]:
        """What the snapshots that are there now stand for, newest first, damaged or not."""
        tails = [name.rpartition(".")[2] for name in await self._names()]
        return [int(tail) for tail in tails if tail.isdecimal()]

    async def newest_first(self) -> AsyncIterator[tuple[SnapshotHeader, bytes]]:
        """The snapshots that are whole; damaged ones are logged and passed over."""
        for name in await self._names():
            try:
                found = await self._bus.object_get(BUCKET, name)
                opened = None if found is None else _open_snapshot(found)
            except (BusRefusal, ValueError, *MALFORMED) as error:
                log.error("damaged snapshot %s: %s", name, error)
                continue
            if opened is not None:
                yield opened

    async def _names(self) -> list[str]:
        prefix = f"{self._service}."
        names = await self._bus.object_names(BUCKET)
        return sorted((name for name in names if name.startswith(prefix)), reverse=True)


def _open_snapshot(found: bytes) -> tuple[SnapshotHeader, bytes]:
    head, _, data = found.partition(b"\n")
    header = _decode_header(head)
    if header.format != FORMAT:
        raise ValueError(f"format {header.format} is not {FORMAT}")
    if len(data) != header.size_bytes or zlib.crc32(data) != header.crc32:
        raise ValueError("checksum does not match")
    return header, data
