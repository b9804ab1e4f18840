"""How far has each reader of a stream come, and what may be discarded?

Readers publish their committed cursors; the owner of a stream purges up to the least of them. A
reader that never published counts as 0, so nothing it needs is ever discarded. It does not know
what the streams hold.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec

from penstock_bus.port import (
    Bus,
    BusRefusal,
    KeyValue,
    Outage,
    Reader,
    StoredMessage,
    WrongRevision,
)
from penstock_contracts.cursors import BUCKET, Cursor, cursor_key, dropped_key
from penstock_contracts.errors import MALFORMED
from penstock_runtime.entries import encode_json

__all__ = [
    "Cursor",
    "Follower",
    "come_back",
    "cursor_key",
    "publish_cursor",
    "read_cursors",
    "waited_for",
]

log = logging.getLogger(__name__)

PUBLISH_S = 2.0
"""Cursors are for purging and for lag alerts only: a late one costs space, never truth."""


_decode_cursor = msgspec.json.Decoder(Cursor).decode


async def publish_cursor(
    bus: Bus,
    stream: str,
    reader: str,
    seq: int,
    *,
    cut: bool = False,
    confirm: Callable[[], Awaitable[None]] | None = None,
) -> bool:
    """Say that `reader` needs nothing of `stream` up to `seq` any more; False when somebody spoke
    at the same moment, and it is to be said again. Raises Outage, BusRefusal.

    A cursor never goes back: an instance that was superseded has less to say. Only when the stream
    was `cut`, or ends before the cursor, what it spoke of is lost and a lower one is true. Before
    it is written `confirm` raises if we were superseded: whoever supersedes us after that and
    speaks changes what we have read, so that ours is refused.
    """
    key = cursor_key(stream, reader)
    found = await bus.kv_get(BUCKET, key)
    before = 0 if found is None else _seq_of(found)
    if before > seq:
        if not cut and before <= (await bus.stream_state(stream)).last_seq:
            return True
        if confirm is not None:
            await confirm()
    revision = 0 if found is None else found.revision
    try:
        await bus.kv_put(BUCKET, key, encode_json(Cursor(seq)), expected_revision=revision)
    except WrongRevision:
        return False
    return True


def waited_for(
    published: Mapping[str, int], stream: str, readers: Iterable[str]
) -> tuple[str, ...]:
    """Those of a stream's readers for whom it is kept: not the ones an operator has dropped."""
    return tuple(r for r in readers if dropped_key(stream, r) not in published)


async def come_back(bus: Bus, stream: str, reader: str) -> bool:
    """Have the stream kept again for a reader; whether it had been dropped. Raises Outage."""
    key = dropped_key(stream, reader)
    if await bus.kv_get(BUCKET, key) is None:
        return False
    await bus.kv_delete(BUCKET, key)
    return True


async def read_cursors(bus: Bus) -> dict[str, int]:
    """Every published cursor, and every mark of a dropped reader, by its key. Raises Outage."""
    return {item.key: _seq_of(item) for item in await bus.kv_all(BUCKET)}


def _seq_of(item: KeyValue) -> int:
    try:
        return _decode_cursor(item.value).seq
    except MALFORMED as error:
        log.error("undecodable cursor %s counts as 0: %s", item.key, error)
        return 0


class Follower:
    """Reads a stream in order for somebody who commits its cursor in a storage of its own.

    `committed(seq)` says what is stored; it is published now and then by a task of the follower.
    """

    def __init__(self, bus: Bus, *, stream: str, name: str, after_seq: int) -> None:
        self.stream = stream
        self.name = name
        self.seq_committed = after_seq
        self._bus = bus
        self._seq_published: int | None = None
        self._reader: Reader | None = None
        self._publishing: asyncio.Task[None] | None = None

    async def open(self, *, subject: str = "") -> None:
        """Begin behind the cursor. Raises Outage."""
        self._reader = await self._bus.reader(
            self.stream, after_seq=self.seq_committed, subject=subject
        )
        self._publishing = asyncio.create_task(self._publish_for_ever())

    async def next_batch(self) -> list[StoredMessage]:
        """As the port's: at least one message, at most 500. Raises StreamRewound."""
        if self._reader is None:
            raise RuntimeError(f"the follower of {self.stream} is not open")
        return await self._reader.next_batch()

    def committed(self, seq: int) -> None:
        """Everything up to `seq` is stored and will not be asked for again."""
        self.seq_committed = seq

    async def close(self) -> None:
        """Publish the last cursor, as far as the broker answers, and stop reading."""
        publishing, self._publishing = self._publishing, None
        if publishing is not None:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            await self._publish()
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()

    async def _publish_for_ever(self) -> None:
        while True:
            await self._publish()
            await asyncio.sleep(PUBLISH_S)

    async def _publish(self) -> None:
        seq = self.seq_committed
        if seq == self._seq_published:
            return
        try:
            if await publish_cursor(self._bus, self.stream, self.name, seq):
                self._seq_published = seq
        except (Outage, BusRefusal) as error:
            log.warning("cursor of %s on %s waits: %s", self.name, self.stream, error)
