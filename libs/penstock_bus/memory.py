"""How does a process reach the bus when all runs in one process?

The port over a `MemoryBroker`, with the meaning of the real adapter (one conformance suite) and its
failures on request. It does not know threads or the wall clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice

from penstock_bus import buckets, wire
from penstock_bus.buckets import KeyValueOverStreams
from penstock_bus.memory_broker import Interest, MemoryBroker
from penstock_bus.memory_reader import MemoryReader
from penstock_bus.memory_session import MemorySession
from penstock_bus.objects import ObjectsOverStreams
from penstock_bus.port import (
    Appended,
    Headers,
    Message,
    NoResponders,
    Outage,
    StoredMessage,
    StreamState,
)
from penstock_bus.replies import settle_future
from penstock_contracts.streams import StreamConfig

READ_MANY_MAX = 1_000
PAYLOAD_BYTES_MAX = 1024 * 1024


async def connect(broker: MemoryBroker, *, name: str, inbox_prefix: str | None = None) -> MemoryBus:
    """A client of the broker (Outage when it is down). Partitions of the broker go by `name`."""
    if not broker.reachable(name):
        raise Outage("the broker is down" if not broker.up else f"{name} is cut off")
    bus = MemoryBus(broker, name, broker.new_inbox(inbox_prefix or "_INBOX"))
    broker.clients.append(bus)
    return bus


class MemoryBus(MemorySession, KeyValueOverStreams, ObjectsOverStreams):
    """The port over one client of the twin. Made by `connect`."""

    def __init__(self, broker: MemoryBroker, name: str, inbox: str) -> None:
        super().__init__(broker, name, inbox)
        broker.add(Interest(f"{inbox}.*", "", self, self._on_reply))

    def _on_reply(self, message: Message) -> None:
        settle = self._replies.get(message.subject)
        if settle is not None:
            settle(message)

    # -- core -----------------------------------------------------------------------------------
    def publish_nowait(self, subject: str, payload: bytes, headers: Headers | None = None) -> None:
        wire.check_subject(subject)
        wire.check_size(subject, payload, headers, PAYLOAD_BYTES_MAX)
        if not self.connected:
            raise Outage("not connected to the broker")
        message = Message(subject, payload, "", headers)
        self.uplink.send(lambda: self._route(message))

    def _route(self, message: Message) -> None:
        if self._broker.up:
            self._broker.route(message)

    async def publish(self, subject: str, payload: bytes, headers: Headers | None = None) -> None:
        self.publish_nowait(subject, payload, headers)

    async def request(
        self, subject: str, payload: bytes, *, timeout_s: float, headers: Headers | None = None
    ) -> Message:
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        on_done = settle_future(future)
        self.request_nowait(subject, payload, on_done, timeout_s=timeout_s, headers=headers)
        return await future

    def request_nowait(
        self,
        subject: str,
        payload: bytes,
        on_done: Callable[[Message | Exception], None],
        *,
        timeout_s: float,
        headers: Headers | None = None,
    ) -> None:
        wire.check_subject(subject)
        wire.check_size(subject, payload, headers, PAYLOAD_BYTES_MAX)
        reply = f"{self._inbox}.{self._next_call + 1}"

        def finish(result: Message | Exception) -> None:
            self._replies.pop(reply, None)
            if isinstance(result, Message):
                result = Message(subject, result.payload, "", result.headers)
            on_done(result)

        settle = self._expect(subject, timeout_s, finish)
        self._replies[reply] = settle
        message = Message(subject, payload, reply, headers)

        def ask() -> None:
            if self._broker.up and not self._broker.route(message):
                nobody = NoResponders(f"nobody answers on {subject}")
                self.downlink.send(lambda: settle(nobody), lossy=False)

        if self.connected:
            self.uplink.send(ask)

    async def respond(self, message: Message, payload: bytes) -> None:
        self.respond_nowait(message, payload)

    def respond_nowait(self, message: Message, payload: bytes) -> None:
        if not wire.is_reply_subject(message.reply):
            if message.reply:
                self._counters["forged_replies"] += 1
            return
        try:
            self.publish_nowait(message.reply, payload)
        except Outage:
            self._counters["lost_responses"] += 1

    async def subscribe(
        self, subject: str, handler: Callable[[Message], None], *, queue: str = ""
    ) -> MemorySubscription:
        wire.check_subject(subject)
        interest = Interest(subject, queue, self, handler)
        try:
            await self._call(lambda: self._broker.add(interest))
        except Outage:
            self._broker.remove(interest)
            raise
        return MemorySubscription(self._broker, interest)

    # -- streams --------------------------------------------------------------------------------
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
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self.append_nowait(
            subject,
            payload,
            settle_future(future),
            expected_last_seq=expected_last_seq,
            message_id=message_id,
            headers=headers,
            timeout_s=timeout_s,
        )
        return await future

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
        headers = wire.append_headers(headers, expected_last_seq, message_id)
        wire.check_subject(subject)

        def effect() -> Appended:
            wire.check_size(subject, payload, headers, PAYLOAD_BYTES_MAX)
            appended = self._broker.append(subject, payload, headers)
            if appended is None:
                raise NoResponders(f"nobody answers on {subject}")
            return appended

        self._call_nowait(effect, on_done, subject, timeout_s, lossy=True)

    async def reader(self, stream: str, *, after_seq: int, subject: str = "") -> MemoryReader:
        reader = MemoryReader(self._broker, self, stream, after_seq, subject, self.readers.remove)

        def open_at_broker() -> None:
            reader.open()
            self.readers.append(reader)

        await self._call(open_at_broker)
        return reader

    async def read(self, stream: str, seq: int) -> StoredMessage | None:
        return await self._call(lambda: self._broker.stream(stream).read(seq))

    async def read_last(self, stream: str, subject: str) -> StoredMessage | None:
        return await self._call(lambda: self._broker.stream(stream).read_last(subject))

    async def read_next(self, stream: str, from_seq: int, subject: str) -> StoredMessage | None:
        return await self._call(
            lambda: next(self._broker.stream(stream).scan(from_seq, subject), None)
        )

    async def read_many(
        self, stream: str, from_seq: int, subject: str, *, limit: int = 256
    ) -> list[StoredMessage]:
        bound = min(limit, READ_MANY_MAX)
        return await self._call(
            lambda: list(islice(self._broker.stream(stream).scan(from_seq, subject), bound))
        )

    async def purge(self, stream: str, *, up_to_seq: int | None = None, subject: str = "") -> None:
        await self._call(lambda: self._broker.stream(stream).purge(up_to_seq, subject))

    async def stream_state(self, stream: str, *, at_least: int = 0) -> StreamState:
        return await self._call(lambda: self._broker.stream(stream).state())

    async def ensure_streams(self, streams: Sequence[StreamConfig]) -> None:
        await self._call(lambda: self._broker.ensure_streams(streams))

    async def ensure_buckets(self, names: Sequence[str], *, objects: bool = False) -> None:
        await self.ensure_streams(buckets.streams_of(names, objects=objects))


class MemorySubscription:
    def __init__(self, broker: MemoryBroker, interest: Interest) -> None:
        self._broker = broker
        self._interest = interest

    async def close(self) -> None:
        self._broker.remove(self._interest)
