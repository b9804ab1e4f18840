"""How is a stream taken out of the broker, or put back, as a whole?

JetStream's snapshot API: the broker sends a stream's files in chunks, with configuration, sequence
numbers and times as they are, while it goes on working. It does not know what streams mean, nor
where the chunks are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec

from penstock_bus import wire
from penstock_bus.connection import Connection
from penstock_bus.nats_calls import Calls, is_refusal
from penstock_bus.port import BusRefusal, Outage

CHUNK_BYTES = 128 * 1024
CHUNK_S_MAX = 15.0
"""The broker gives up after 5 s without a word from us; longer silence is an outage."""
RESTORED_S_MAX = 1800.0
"""It answers the last chunk when all is unpacked and checked."""
END_OF_SNAPSHOT = 204
ERROR_STREAM_NOT_FOUND = 10059


class StreamImage(msgspec.Struct, frozen=True):
    """A stream at one moment: `config` as the broker has it, `state` with its sequences."""

    config: dict[str, Any]
    state: dict[str, Any]


class Snapshots:
    """Over one connection; needs rights on `$JS.API.>` and `$JS.SNAPSHOT.>`."""

    def __init__(self, connection: Connection, calls: Calls, inbox: str) -> None:
        self._connection = connection
        self._calls = calls
        self._inbox = inbox
        self._count = 0

    async def begin(self, stream: str) -> Snapshot | None:
        """What the stream holds now; None when there is no such stream. Raises Outage."""
        self._count += 1
        snapshot = Snapshot(self._connection, f"{self._inbox}.snapshot.{self._count}")
        body = {
            "deliver_subject": snapshot.inbox,
            "no_consumers": True,
            "chunk_size": CHUNK_BYTES,
        }
        try:
            answer = await self._calls.api(f"STREAM.SNAPSHOT.{stream}", body)
        except BaseException as error:
            snapshot.close()
            if isinstance(error, BusRefusal) and is_refusal(error, ERROR_STREAM_NOT_FOUND):
                return None
            raise
        snapshot.image = StreamImage(answer["config"], answer["state"])
        return snapshot

    async def restore(self, stream: str, image: StreamImage, chunks: Iterable[bytes]) -> None:
        """Make a stream that is not there of an image and its chunks. Raises BusRefusal, Outage."""
        body = {"config": image.config, "state": image.state}
        answer = await self._calls.api(f"STREAM.RESTORE.{stream}", body)
        subject = str(answer["deliver_subject"])
        for chunk in chunks:
            self._check(await self._calls.ask(subject, chunk, CHUNK_S_MAX), stream)
        self._check(await self._calls.ask(subject, b"", RESTORED_S_MAX), stream)

    async def delete(self, stream: str) -> None:
        """Remove a stream with all it holds. Raises BusRefusal, Outage."""
        await self._calls.api(f"STREAM.DELETE.{stream}")

    @staticmethod
    def _check(reply: tuple[bytes, bytes | None], stream: str) -> None:
        payload, block = reply
        status = wire.decode_status(block)
        if status:
            raise BusRefusal(status, f"{stream}: {wire.decode_status_text(block or b'')}")
        error = wire.decode_json(payload).get("error") if payload else None
        if error is not None:
            raise BusRefusal(int(error.get("err_code", 0)), f"{stream}: {error['description']}")


class Snapshot:
    """One stream on its way out. The broker waits for us, so nothing piles up here."""

    def __init__(self, connection: Connection, inbox: str) -> None:
        self.inbox = inbox
        self.image = StreamImage({}, {})
        self._connection = connection
        self._arrived: asyncio.Queue[tuple[str, bytes, bytes | None]] = asyncio.Queue()
        self._sid = connection.listen(inbox, self._take)

    def _take(self, subject: bytes, reply: bytes, payload: bytes, block: bytes | None) -> None:
        self._arrived.put_nowait((reply.decode(), payload, block))

    async def chunks(self) -> AsyncIterator[bytes]:
        """All of it. Raises Outage when the broker falls silent or cannot go on."""
        try:
            while True:
                try:
                    arrived = await asyncio.wait_for(self._arrived.get(), CHUNK_S_MAX)
                except TimeoutError:
                    raise Outage("the broker stopped in the middle of a snapshot") from None
                reply, payload, block = arrived
                if not payload:
                    break
                yield payload
                if reply:
                    self._connection.publish_nowait(reply, "", b"", None)
            status = wire.decode_status(block)
            if status not in (0, END_OF_SNAPSHOT):
                raise Outage(f"a snapshot failed: {wire.decode_status_text(block or b'')}")
        finally:
            self.close()

    def close(self) -> None:
        self._connection.unlisten(self._sid)
