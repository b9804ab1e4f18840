"""How do bytes get to the broker and back?

The one module that knows nats-py's insides (pinned to 2.16.x for that reason): raw handlers instead
of a task per subscription, a buffered write without awaiting, a flush that is a barrier, and what
nats-py leaves out on a lost connection. It does not know streams, requests or the port.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from penstock_bus.inbound import Inbound
from penstock_bus.nats_library import PERMISSIONS_ERR, Client, Server, Subscription, errors
from penstock_bus.port import Headers, Outage
from penstock_bus.wire import check_subject, decode_json, publish_line

log = logging.getLogger(__name__)

# What may wait unsent before a publisher is refused; the server closes slow readers at 64 MiB.
UNSENT_BYTES_MAX = 32 * 1024 * 1024
# Above this the socket's own buffer is full: keep ours back until it drains.
SOCKET_BUFFER_BYTES_MAX = 4 * 1024 * 1024
FULL_SOCKET_RETRY_S = 0.002
CLOSE_TIMEOUT_S = 2.0
RECONNECT_S = 0.05
RECONNECT_S_MAX = 2.0
DOUBLINGS_MAX = 8

RawHandler = Callable[[bytes, bytes, bytes, "bytes | None"], None]
"""(subject, reply, payload, header block)"""


class Connection(Client):
    """A nats-py client whose subscriptions are plain functions called in the read loop.

    Nothing waits in a queue of ours, so a slow handler holds back the socket instead of dropping
    messages. Measured with 256 B on two busy cores under uvloop: a publish costs 0.6 µs of CPU (1.7
    µs through nats-py's `publish`), publish and delivery to a handler together 1.8 µs (2.2 µs by
    nats-py's reader, which also costs 14 µs more per wake-up).
    """

    def __init__(self) -> None:
        super().__init__()
        self.counters: Counter[str] = Counter()
        self.on_lost: Callable[[], None] = lambda: None
        self.on_refused: Callable[[str], None] = lambda text: None
        self._rare: set[asyncio.Task[None]] = set()
        self._attempts = 0  # to reconnect, since the connection was lost
        self._lost = ""  # host and port of the server that it was lost to
        self._handlers: dict[int, RawHandler] = {}
        self._flush_scheduled = False
        self.on_credentials_ended: Callable[[], None] | None = None

    # -- sending ------------------------------------------------------------------------------
    def send(self, command: bytes) -> None:
        """Queues a protocol command for this turn of the loop; Outage when it cannot leave."""
        if self._status != Client.CONNECTED:
            raise Outage("not connected to the broker")
        if self._pending_data_size > UNSENT_BYTES_MAX:
            self.counters["unsent_overflows"] += 1
            raise Outage("the broker does not take what is sent")
        self._pending.append(command)
        self._pending_data_size += len(command)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush_turn)

    def publish_nowait(
        self, subject: str, reply: str, payload: bytes, headers: Headers | None
    ) -> None:
        """Raises Outage, BusRefusal (too large) or ValueError (not a subject or header)."""
        check_subject(subject)
        self.send(publish_line(subject, reply, payload, headers, self._max_payload))

    @property
    def unsent_bytes(self) -> int:
        return self._pending_data_size

    def _flush_turn(self) -> None:
        self._flush_scheduled = False
        if self._status != Client.CONNECTED or not self._pending:
            return
        if self._socket_buffer_bytes() > SOCKET_BUFFER_BYTES_MAX:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_later(FULL_SOCKET_RETRY_S, self._flush_turn)
            return
        self._write_pending()

    def _write_pending(self) -> None:
        pending = self._pending
        self._pending = []
        self._pending_data_size = 0
        if self._transport is not None and pending:
            self._transport.write(pending[0] if len(pending) == 1 else b"".join(pending))

    def _socket_buffer_bytes(self) -> int:
        transport = self._socket_transport()
        return 0 if transport is None else transport.get_write_buffer_size()

    def _socket_transport(self) -> asyncio.WriteTransport | None:
        writer = getattr(self._transport, "_io_writer", None)
        return None if writer is None else writer.transport

    async def barrier(self, timeout_s: float) -> None:
        """Returns when the broker has processed all that was sent before. nats-py's `flush` alone
        is none: its PING overtakes what is still buffered."""
        if self._status != Client.CONNECTED:
            raise Outage("not connected to the broker")
        self._write_pending()
        try:
            await self.flush(timeout=timeout_s)  # type: ignore[arg-type]
        except (errors.Error, OSError, AttributeError) as error:
            raise Outage(f"the broker did not answer a ping: {error!r}") from error

    # -- receiving ----------------------------------------------------------------------------
    def listen(self, subject: str, handler: RawHandler, queue: str = "") -> int:
        """Calls `handler` in the read loop for each message; survives reconnects. Returns the
        id."""
        check_subject(subject)
        if queue:
            check_subject(queue)
        self._sid += 1
        sid = self._sid
        self._handlers[sid] = handler
        self._subs[sid] = Subscription(self, sid, subject, queue=queue)
        if self._status == Client.CONNECTED:
            self.send(f"SUB {subject} {queue} {sid}\r\n".encode())
        return sid

    def unlisten(self, sid: int) -> None:
        self._handlers.pop(sid, None)
        if self._subs.pop(sid, None) is not None and self._status == Client.CONNECTED:
            self.send(f"UNSUB {sid}\r\n".encode())

    async def _read_loop(self) -> None:
        """In place of nats-py's: the socket's bytes go to our protocol, this task waits for their
        end."""
        writer = self._transport._io_writer  # type: ignore[union-attr]
        reader = self._transport._io_reader  # type: ignore[union-attr]
        inbound = Inbound(writer.transport.get_protocol(), self._deliver, self._on_control)
        writer.transport.set_protocol(inbound)
        read_ahead = bytes(reader._buffer)
        reader._buffer.clear()
        writer.transport.resume_reading()
        inbound.data_received(read_ahead)
        if reader.at_eof():
            inbound.eof_received()
        await inbound.ended
        error = errors.UnexpectedEOF()
        await self._error_cb(error)
        await self._process_op_err(error)

    def _deliver(
        self, sid: int, subject: bytes, reply: bytes, payload: bytes, block: bytes | None
    ) -> None:
        handler = self._handlers.get(sid)
        if handler is None:
            return
        try:
            handler(subject, reply, payload, block)
        except Exception:  # a handler's bug must not end the reading for all others
            self.counters["handler_failures"] += 1
            log.exception("handler of %s failed", subject.decode("utf-8", "replace"))

    def _on_control(self, line: bytes) -> None:
        if line == b"PING":
            if self._transport is not None:
                self._transport.write(b"PONG\r\n")
        elif line == b"PONG":
            self._on_pong()
        elif line.startswith(b"-ERR"):
            text = line[4:].decode("utf-8", "replace").strip().lower()
            if PERMISSIONS_ERR in text:
                self.on_refused(text)
            elif self.on_credentials_ended is not None and "authentication" in text:
                self.counters["credentials_ended"] += 1
                self.on_credentials_ended()
                self._begin(self._process_op_err(errors.StaleConnectionError()))
            else:
                self._begin(self._process_err(text))
        elif line.startswith(b"INFO"):
            self._begin(self._process_info(decode_json(line[4:])))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._rare.add(task)
        task.add_done_callback(self._rare.discard)

    def _on_pong(self) -> None:
        """As nats-py's, but a pong for a ping that gave up does no harm."""
        if self._pongs:
            future = self._pongs.pop(0)
            if not future.done():
                future.set_result(True)
            self._pongs_received += 1
            self._pings_outstanding = 0

    # -- losing and leaving -------------------------------------------------------------------
    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Only the servers that were given are used: what a cluster says of itself may be addresses
        that nobody outside it reaches, or names that no certificate has."""
        info.pop("connect_urls", None)
        await super()._process_info(info, initial_connection)

    async def _attempt_reconnect(self) -> None:
        """Drops what is unsent (a command must not arrive after its sender gave up) and the socket
        with it: closing it politely would wait for a peer that may be frozen."""
        self._drop_unsent()
        self._attempts = 0
        await super()._attempt_reconnect()

    def choose_server(
        self, servers: list[Server], _info: dict[str, Any]
    ) -> tuple[Server | None, float]:
        """nats-py asks before each attempt to reconnect: the servers in turn, the one that was lost
        last, later and later, and not all clients of a restarted broker at once."""
        attempt = self._attempts
        self._attempts += 1
        if attempt == 0 and self._current_server is not None:
            self._lost = self._current_server.uri.netloc
        turn = sorted(servers, key=lambda server: server.uri.netloc == self._lost)
        rounds = attempt // len(servers)
        delay_s = min(RECONNECT_S * 2 ** min(rounds, DOUBLINGS_MAX), RECONNECT_S_MAX)
        return turn[attempt % len(turn)], delay_s * random.uniform(0.5, 1.0)

    async def _connect_to_server(self, s: Any) -> None:
        """Closes what an attempt that failed half way has left open; nats-py forgets it."""
        self._abort()
        await super()._connect_to_server(s)

    async def _process_connect_init(self) -> None:
        """Says that an upgraded stream is TLS, also one on which we are refused; nats-py leaves it
        out, and asyncio would log a warning at every end of it."""
        try:
            await super()._process_connect_init()
        finally:
            transport = self._socket_transport()
            if transport is not None and transport.get_extra_info("ssl_object") is not None:
                protocol: Any = transport.get_protocol()
                if protocol is not None:
                    protocol._over_ssl = True

    @property
    def peer_certificate(self) -> bytes | None:
        transport = self._socket_transport()
        shown = None if transport is None else transport.get_extra_info("ssl_object")
        certificate: bytes | None = None if shown is None else shown.getpeercert(binary_form=True)
        return certificate

    def _abort(self) -> None:
        transport = self._socket_transport()
        if transport is not None:
            transport.abort()

    def _drop_unsent(self) -> None:
        self._pending.clear()
        self._pending_data_size = 0
        self._abort()
        self.on_lost()

    @property
    def read_loop_died(self) -> bool:
        """nats-py can lose its read loop to an exception and still call itself connected."""
        task = self._reading_task
        return self._status == Client.CONNECTED and (task is None or task.done())

    @property
    def reconnect_died(self) -> bool:
        """An error that nats-py does not expect (an unreadable credential) ends its attempts."""
        task = self._reconnection_task
        waiting = self._status not in (Client.CONNECTED, Client.CLOSED)
        return waiting and (task is None or task.done())

    def reconnect_again(self) -> None:
        task = self._reconnection_task
        if task is not None and not task.cancelled():
            log.warning("reconnecting failed, trying again: %r", task.exception())
        self._status = Client.RECONNECTING
        self._ps.reset()
        self._reconnection_task = asyncio.get_running_loop().create_task(self._attempt_reconnect())

    async def reconnect_now(self) -> None:
        self._abort()
        await self.force_reconnect()

    async def leave(self) -> None:
        """Closes for good; what was sent before still leaves when the broker takes it."""
        if self._status == Client.CONNECTED:
            self._write_pending()
        closing = asyncio.ensure_future(self.close())
        done, _ = await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT_S)
        if not done:
            self._abort()
            await closing
