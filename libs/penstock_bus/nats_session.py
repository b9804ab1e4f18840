"""How does a connection to the broker live?

Opening, the watchdog, reconnects, what the broker complains about, and the end. It does not know
what is published or read over it (`nats`)."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping

from penstock_bus import wire
from penstock_bus.connection import Connection
from penstock_bus.credentials import expiry_s, renewal_delay_s
from penstock_bus.nats_calls import Calls
from penstock_bus.nats_library import errors
from penstock_bus.nats_reader import NatsReader
from penstock_bus.port import BusRefusal, Outage
from penstock_bus.replies import ReplyBox

log = logging.getLogger(__name__)

SOCKET_TIMEOUT_S = 2
CONNECT_WAIT_S = 0.2
WATCHDOG_S = 2.0
WATCHDOG_TIMEOUT_S = 3.0
SUBSCRIBE_TIMEOUT_S = 5.0
STORAGE_S_MAX = 10.0
"""A cluster finds a new leader in 4 to 9 s; who waits longer may be at a server that is cut off."""
RENEWAL_S_MIN = 1.0

_PERMISSION = re.compile(r"permissions violation for (publish|subscription) to \"([^\"]*)\"")


class NatsSession:
    """One connection with its reply inbox, readers and watchdog."""

    def __init__(
        self,
        inbox_prefix: str,
        credentials: str | None,
        on_closed: Callable[[Exception | None], None] | None,
    ) -> None:
        wire.check_subject(inbox_prefix)
        self._connection = Connection()
        self._inbox = f"{inbox_prefix}.{secrets.token_hex(8)}"
        self._box = ReplyBox(self._inbox)
        self._calls = Calls(self._connection, self._box)
        self._credentials = credentials
        self._expires_s: int | None = None
        self._on_closed = on_closed
        self._readers: list[NatsReader] = []
        self._reconnect_handlers: list[Callable[[], Awaitable[None]]] = []
        self._refused_subscriptions: set[str] = set()
        self._refused: asyncio.Event = asyncio.Event()
        self._watchdog: asyncio.Task[None] | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._leaving = False
        self._servers = 1

    async def open(
        self, urls: list[str], name: str, timeout_s: float, options: dict[str, object]
    ) -> None:
        connection = self._connection
        self._servers = len(urls)
        if self._credentials is not None:
            options["user_credentials"] = self._credentials
            self._expires_s = expiry_s(self._credentials)
        connection.on_lost = self._connection_lost
        connection.on_refused = self._refused_by_broker
        connecting = asyncio.ensure_future(
            connection.connect(
                urls,
                name=name,
                error_cb=self._count_error,
                closed_cb=self._connection_closed,
                reconnected_cb=self._connection_back,
                max_reconnect_attempts=-1,
                reconnect_time_wait=CONNECT_WAIT_S,  # type: ignore[arg-type]
                reconnect_to_server_handler=connection.choose_server,
                connect_timeout=SOCKET_TIMEOUT_S,
                pending_size=-1,
                **options,  # type: ignore[arg-type]
            )
        )
        refused = asyncio.ensure_future(self._refused.wait())
        await asyncio.wait(
            {connecting, refused}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        refused.cancel()
        url = ", ".join(urls)
        if not connecting.done():
            self._leaving = True
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
            await connection.leave()
            if self._refused.is_set():
                raise BusRefusal(wire.ERROR_PERMISSION, f"{url} refuses these credentials")
            raise Outage(f"no broker at {url} within {timeout_s} s: {connection.last_error!r}")
        connecting.result()
        connection.listen(self._box.subject, self._box.deliver)
        try:
            await connection.barrier(SUBSCRIBE_TIMEOUT_S)
        except Outage:
            self._leaving = True
            await connection.leave()
            raise
        self._watchdog = asyncio.get_running_loop().create_task(self._watch())
        if self._expires_s is not None:
            self._renewal = asyncio.get_running_loop().create_task(self._renew())

    # -- the port's life ------------------------------------------------------------------------
    @property
    def connected(self) -> bool:
        return self._connection.is_connected

    @property
    def counters(self) -> Mapping[str, int]:
        return self._connection.counters

    @property
    def peer_certificate(self) -> bytes | None:
        """What the broker has shown (DER); None without TLS."""
        return self._connection.peer_certificate

    def outlive_credentials(self, on_ended: Callable[[], None] | None) -> None:
        self._connection.on_credentials_ended = on_ended

    def on_reconnect(self, handler: Callable[[], Awaitable[None]]) -> None:
        self._reconnect_handlers.append(handler)

    async def close(self) -> None:
        self._leaving = True
        for task in (self._watchdog, self._renewal):
            if task is not None:
                task.cancel()
        for reader in list(self._readers):
            await reader.close()
        await self._connection.leave()
        self._box.fail_all("the bus is closed")

    # -- what happens to it ---------------------------------------------------------------------
    async def _watch(self) -> None:
        """A dead connection can look alive: ask, and reconnect when nobody answers."""
        while True:
            await asyncio.sleep(WATCHDOG_S)
            if self._connection.reconnect_died:
                self._connection.counters["watchdog_reconnects"] += 1
                self._connection.reconnect_again()
            if not self._connection.is_connected:
                continue
            try:
                if self._connection.read_loop_died:
                    raise Outage("the read loop has ended")
                self._leave_cut_off_server()
                await self._connection.barrier(WATCHDOG_TIMEOUT_S)
            except Outage as error:
                if self._connection.is_connected:
                    log.warning("watchdog reconnects: %s", error)
                    self._connection.counters["watchdog_reconnects"] += 1
                    await self._connection.reconnect_now()

    def _leave_cut_off_server(self) -> None:
        """A server apart from its cluster answers pings, but stores nothing: try another one."""
        failing_s = self._calls.storage_failing_s
        if self._servers > 1 and failing_s > STORAGE_S_MAX:
            self._calls.storage_answered()  # the next one gets as long
            raise Outage(f"nothing could be stored for {failing_s:.0f} s")

    async def _renew(self) -> None:
        """Comes back with the newer credential before the broker ends the connection for good."""
        credentials = self._credentials
        while credentials is not None and self._expires_s is not None:
            delay_s = renewal_delay_s(self._expires_s, time.time())
            await asyncio.sleep(max(delay_s, RENEWAL_S_MIN))
            newer_s = expiry_s(credentials)
            if newer_s is None or newer_s > self._expires_s:
                self._expires_s = newer_s
                self._connection.counters["renewals"] += 1
                await self._connection.reconnect_now()
            else:
                self._connection.counters["stale_credentials"] += 1

    def _connection_lost(self) -> None:
        self._connection.counters["disconnects"] += 1
        self._box.fail_all("the connection was lost")
        for reader in self._readers:
            reader.connection_lost()

    async def _connection_back(self) -> None:
        self._connection.counters["reconnects"] += 1
        for reader in self._readers:
            reader.connection_back()
        for handler in self._reconnect_handlers:
            try:
                await handler()
            except Exception:  # one handler must not keep the others from running
                self._connection.counters["handler_failures"] += 1
                log.exception("a reconnect handler failed")

    async def _connection_closed(self) -> None:
        if self._leaving:
            return
        error = self._connection.last_error
        log.error("the broker has closed the connection for good: %r", error)
        self._connection.counters["closed"] += 1
        self._box.fail_all("the connection is closed for good")
        if self._on_closed is not None:
            self._on_closed(error)

    async def _count_error(self, error: Exception) -> None:
        counters = self._connection.counters
        if isinstance(error, errors.SlowConsumerError):
            counters["slow_consumers"] += 1
            return
        text = str(error)
        if "authorization violation" in text.lower():
            counters["authorization_refusals"] += 1
            self._refused.set()
            if self._connection.on_credentials_ended is not None:
                self._connection.on_credentials_ended()
        else:
            counters["async_errors"] += 1
            log.info("connection: %r", error)

    def _refused_by_broker(self, text: str) -> None:
        """`text` is in lower case, as nats-py hands it on."""
        self._connection.counters["permission_refusals"] += 1
        log.warning("the broker refuses: %s", text)
        refused = _PERMISSION.search(text)
        if refused is not None and refused[1] == "publish":
            self._box.refuse(refused[2])
        elif refused is not None:
            self._refused_subscriptions.add(refused[2])
