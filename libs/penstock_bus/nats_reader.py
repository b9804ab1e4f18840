"""What does a stream hold behind a cursor, and what comes next?

A reader over an ephemeral pull consumer without acknowledgements: one subscription with a plain
callback, pulls renewed before they run dry, idle heartbeats. The cursor lives here, not in the
broker: after a gap, a silence, a reconnect or the consumer's loss the reader makes a new consumer
behind its cursor, so that nothing is delivered twice or skipped. It does not know what the messages
mean."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any

from penstock_bus import wire
from penstock_bus.connection import Connection
from penstock_bus.nats_calls import Calls
from penstock_bus.nats_streams import info_reaching
from penstock_bus.port import BusRefusal, Outage, StoredMessage, StreamRewound

log = logging.getLogger(__name__)

BATCH = 500
PULL_BYTES_MAX = 8 * 1024 * 1024
BUFFERED_MAX = 4 * BATCH  # above this nothing more is pulled until the caller takes some
PULL_EXPIRES_S = 30
HEARTBEAT_S = 0.5
SILENCE_S = 3 * HEARTBEAT_S  # so long without a word while a pull is open: start anew
INACTIVE_S = 30  # the broker forgets a consumer that nobody pulls from
RETRY_S = 0.1
RETRY_S_MAX = 2.0
NANOSECONDS = 1_000_000_000


class NatsReader:
    def __init__(
        self,
        connection: Connection,
        calls: Calls,
        inbox: str,
        stream: str,
        after_seq: int,
        subject: str,
        on_close: Callable[[NatsReader], None],
    ) -> None:
        self._connection = connection
        self._calls = calls
        self._inbox = inbox
        self._stream = stream
        self._subject = subject
        self._cursor = after_seq
        self._on_close = on_close
        self._counters: Counter[str] = connection.counters
        self._ready: list[StoredMessage] = []
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._closed = False
        self._created: str | None = None  # when the stream was made: another value, another stream
        self._sid: int | None = None
        self._pull_subject = ""
        self._pull_reply = ""
        self._delivery = 0
        self._requested = 0
        self._heard_at = 0.0
        self._made_at = 0.0
        self._watch_due = 0.0
        self._recovery: asyncio.Task[None] | None = None
        self._watch_timer: asyncio.TimerHandle | None = None

    # -- for the caller -------------------------------------------------------------------------
    async def next_batch(self) -> list[StoredMessage]:
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            if self._closed:
                raise Outage(f"the reader of {self._stream} is closed")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self.take_ready()

    def take_ready(self) -> list[StoredMessage]:
        ready = self._ready
        if len(ready) <= BATCH:
            self._ready = []
        else:
            self._ready = ready[BATCH:]
            ready = ready[:BATCH]
        if ready and self._sid is not None:
            self._pull_if_low()
        return ready

    async def close(self) -> None:
        self._closed = True
        self._drop_consumer()
        if self._watch_timer is not None:
            self._watch_timer.cancel()
        if self._recovery is not None:
            self._recovery.cancel()
        self._wake()
        self._on_close(self)

    # -- for the bus ----------------------------------------------------------------------------
    async def open(self) -> None:
        """Makes the first consumer; BusRefusal when there is no such stream or no right to it."""
        await self._make_consumer()
        self._watch()

    def connection_lost(self) -> None:
        self._drop_consumer()

    def connection_back(self) -> None:
        if self._recovery is not None:
            self._recovery.cancel()
            self._recovery = None
        self._start_anew("reconnect")

    # -- consumer -------------------------------------------------------------------------------
    async def _make_consumer(self) -> None:
        await self._check_stream()
        self._drop_consumer()
        name = secrets.token_hex(8)
        inbox = f"{self._inbox}.{name}"
        config: dict[str, Any] = {
            "name": name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._cursor + 1,
            "ack_policy": "none",
            "replay_policy": "instant",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": INACTIVE_S * NANOSECONDS,
        }
        create = f"CONSUMER.CREATE.{self._stream}.{name}"
        if self._subject:
            config["filter_subject"] = self._subject
            create += f".{self._subject}"
        await self._calls.api(create, {"stream_name": self._stream, "config": config})
        self._delivery = 0
        self._requested = 0
        self._made_at = self._heard_at = asyncio.get_running_loop().time()
        self._pull_subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{name}"
        self._pull_reply = inbox
        self._sid = self._connection.listen(inbox, self._on_delivery)
        self._pull_if_low()

    async def _check_stream(self) -> None:
        """Notices that the stream is another one, or shorter than what was read of it."""
        info = await info_reaching(self._calls, self._stream, self._cursor)
        created = str(info.get("created"))
        anew = self._created is not None and self._created != created
        shorter = int(info["state"]["last_seq"]) < self._cursor
        if anew or shorter:
            if info["config"].get("storage") != "memory":
                raise StreamRewound(
                    f"{self._stream} ends at {info['state']['last_seq']} and was made at {created};"
                    f" this reader is at {self._cursor} of the one made at {self._created}"
                )
            self._cursor = 0
            self._counters["reader_rewinds"] += 1
        self._created = created

    def _drop_consumer(self) -> None:
        """Deliveries of the old consumer fall on deaf ears; the broker forgets it by itself."""
        if self._sid is not None:
            sid, self._sid = self._sid, None
            try:
                self._connection.unlisten(sid)
            except Outage:
                self._counters["unlisten_outages"] += 1

    def _start_anew(self, reason: str) -> None:
        if self._closed or self._failure is not None:
            return
        self._drop_consumer()
        if self._recovery is None or self._recovery.done():
            log.info("reader of %s starts anew at %d: %s", self._stream, self._cursor, reason)
            self._counters["reader_restarts"] += 1
            self._recovery = asyncio.get_running_loop().create_task(self._recover())

    async def _recover(self) -> None:
        delay_s = RETRY_S
        if asyncio.get_running_loop().time() - self._made_at < RETRY_S:
            await asyncio.sleep(RETRY_S)  # a consumer that fails at once must not spin
        while not self._closed:
            try:
                await self._make_consumer()
                return
            except StreamRewound as error:
                self._fail(error)
                return
            except (Outage, BusRefusal) as error:
                # A stream may be missing for a while when its owner makes it again.
                log.info("reader of %s cannot start: %s", self._stream, error)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, RETRY_S_MAX)

    # -- deliveries -----------------------------------------------------------------------------
    def _on_delivery(
        self, subject: bytes, reply: bytes, payload: bytes, block: bytes | None
    ) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        if not reply.startswith(b"$JS.ACK."):
            self._on_status(block)
            return
        position = wire.decode_position(reply)
        if position.delivery != self._delivery + 1 or position.seq <= self._cursor:
            self._start_anew(f"delivery {position.delivery} after {self._delivery}")
            return
        self._delivery = position.delivery
        self._cursor = position.seq
        self._requested -= 1
        headers = None if block is None else wire.decode_headers(block)
        self._ready.append(
            StoredMessage(subject.decode(), payload, position.seq, position.time_ns, headers)
        )
        self._pull_if_low()
        self._wake()

    def _on_status(self, block: bytes | None) -> None:
        status = wire.decode_status(block)
        if status == wire.STATUS_HEARTBEAT or block is None:
            return
        pending = wire.decode_headers(block).get("Nats-Pending-Messages")
        if pending is None:
            self._start_anew(f"status {status} {wire.decode_status_text(block)}")
            return
        # A pull has ended (408: its time, 409: its bytes) with so many messages undelivered.
        self._requested -= int(pending)
        self._pull_if_low()

    def _pull_if_low(self) -> None:
        if self._requested > BATCH // 2 or len(self._ready) > BUFFERED_MAX - BATCH:
            return
        body = {
            "batch": BATCH,
            "max_bytes": PULL_BYTES_MAX,
            "expires": PULL_EXPIRES_S * NANOSECONDS,
            "idle_heartbeat": int(HEARTBEAT_S * NANOSECONDS),
        }
        try:
            self._connection.publish_nowait(
                self._pull_subject, self._pull_reply, wire.encode_json(body), None
            )
        except Outage:
            return  # the reconnect makes a new consumer
        if self._requested <= 0:
            self._heard_at = asyncio.get_running_loop().time()
        self._requested += BATCH

    def _watch(self) -> None:
        """Every heartbeat's time: has an open pull gone silent?"""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - self._watch_due > HEARTBEAT_S:
            self._heard_at = now  # this process slept, not the broker: listen first
        self._watch_due = now + HEARTBEAT_S
        self._watch_timer = loop.call_at(self._watch_due, self._watch)
        recovering = self._recovery is not None and not self._recovery.done()
        if recovering or self._failure is not None or not self._connection.is_connected:
            return
        silent = self._requested > 0 and now - self._heard_at > SILENCE_S
        if silent or self._sid is None:
            self._start_anew("no heartbeat")

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
