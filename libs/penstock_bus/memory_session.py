"""How does a connection to the in-memory broker live?

Calls that wait for the broker, connections lost and regained, what reaches the client and what no
longer does. It does not know what is published or read over it (`memory`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from penstock_bus import wire
from penstock_bus.memory_link import Link
from penstock_bus.port import BusRefusal, Message, Outage, WrongSequence
from penstock_bus.replies import settle_future

if TYPE_CHECKING:
    from penstock_bus.memory_broker import Interest, MemoryBroker
    from penstock_bus.memory_reader import MemoryReader

log = logging.getLogger(__name__)

T = TypeVar("T")

API_TIMEOUT_S = 5.0
RECONNECT_S = 0.2


class MemorySession:
    """One client's connection, with its links to and from the broker."""

    def __init__(self, broker: MemoryBroker, name: str, inbox: str) -> None:
        wire.check_subject(inbox)
        self.name = name
        self._context = copy_context()
        self.uplink = Link(broker.rng, broker.context)
        self.downlink = Link(broker.rng, self._context)
        self.uplink.faults = self.downlink.faults = broker.faults
        self._broker = broker
        self._inbox = inbox
        self._counters: Counter[str] = Counter()
        self._connected = broker.up
        self._closed = False
        self._next_call = 0
        # number -> ends the call with an error; in the order of the calls
        self._pending: dict[int, Callable[[Exception], None]] = {}
        self._replies: dict[str, Callable[[Message], None]] = {}
        self.readers: list[MemoryReader] = []
        self._reconnect_handlers: list[Callable[[], Awaitable[None]]] = []
        self._reconnects: set[asyncio.Task[None]] = set()

    # -- the port's life ------------------------------------------------------------------------
    @property
    def connected(self) -> bool:
        return self._connected and not self._closed

    @property
    def counters(self) -> Mapping[str, int]:
        return self._counters

    def on_reconnect(self, handler: Callable[[], Awaitable[None]]) -> None:
        self._reconnect_handlers.append(handler)

    async def close(self) -> None:
        for reader in list(self.readers):
            await reader.close()
        self._closed = True
        self._broker.remove_client(self)
        self._fail_pending("the bus is closed")

    def kill(self, *, sent_arrives: bool = False) -> None:
        """As the death of the process: nothing of it is called ever again. What it had sent is lost
        with it, or (`sent_arrives`) still reaches the broker, as from a socket's buffer."""
        self._closed = True
        self._broker.remove_client(self)
        self._pending.clear()
        self._replies.clear()
        if not sent_arrives:
            self.uplink.clear()
        self.downlink.clear()

    # -- for the broker -------------------------------------------------------------------------
    def receive(self, interest: Interest, message: Message) -> None:
        """A message on its way from the broker."""
        self.downlink.send(lambda: self._handle(interest.handler, message))

    def announce(self, stream: str, seq: int) -> None:
        for reader in self.readers:
            if reader.stream == stream:
                self.downlink.send(partial(reader.announce, seq), lossy=False)

    def lose_connection(self) -> None:
        if not self.connected:
            return
        self._connected = False
        self._counters["disconnects"] += 1
        self.uplink.clear()
        self.downlink.clear()
        self._fail_pending("the connection was lost")

    def regain_connection(self) -> None:
        """After a while, when the broker is up and no partition is in the way."""
        loop = asyncio.get_running_loop()
        loop.call_later(RECONNECT_S, self._reconnect, context=self._context)

    def _reconnect(self) -> None:
        if self._closed or not self._broker.up or self.uplink.cut or self.downlink.cut:
            return
        for reader in self.readers:
            reader.resume()
        if self._connected:
            return  # a one-way partition went unnoticed
        self._connected = True
        self._counters["reconnects"] += 1
        task = asyncio.get_running_loop().create_task(self._run_reconnect_handlers())
        self._reconnects.add(task)
        task.add_done_callback(self._reconnects.discard)

    async def _run_reconnect_handlers(self) -> None:
        for handler in self._reconnect_handlers:
            try:
                await handler()
            except Exception:  # one handler must not keep the others from running
                self._counters["handler_failures"] += 1
                log.exception("a reconnect handler failed")

    def _handle(self, handler: Callable[[Message], None], message: Message) -> None:
        if self._closed:
            return
        try:
            handler(message)
        except Exception:  # as the real adapter: counted, and the subscription lives on
            self._counters["handler_failures"] += 1
            log.exception("handler of %s failed", message.subject)

    # -- calls ----------------------------------------------------------------------------------
    def _expect(
        self, subject: str, timeout_s: float, on_done: Callable[[T | Exception], None]
    ) -> Callable[[T | Exception], None]:
        """Notes a call; the returned function ends it, once. Lost connections and time end it
        too."""
        loop = asyncio.get_running_loop()
        self._next_call += 1
        number = self._next_call

        def settle(result: T | Exception) -> None:
            if self._pending.pop(number, None) is not None:
                timer.cancel()
                on_done(result)

        timer = loop.call_later(timeout_s, settle, Outage(f"{subject}: no reply in time"))
        self._pending[number] = settle
        if not self.connected:
            loop.call_soon(settle, Outage("not connected to the broker"))
        return settle

    def _call_nowait(
        self,
        effect: Callable[[], T],
        on_done: Callable[[T | Exception], None],
        subject: str,
        timeout_s: float,
        *,
        lossy: bool,
    ) -> None:
        """Runs `effect` at the broker and hands back what it returned or raised."""
        settle = self._expect(subject, timeout_s, on_done)
        if not self.connected:
            return

        def at_broker() -> None:
            if not self._broker.up:
                return
            result: T | Exception
            try:
                result = effect()
            except (WrongSequence, BusRefusal, Outage) as error:
                result = error
            self.downlink.send(lambda: settle(result), lossy=lossy)

        self.uplink.send(at_broker, lossy=lossy, repeatable=False)

    async def _call(self, effect: Callable[[], T]) -> T:
        """As `_call_nowait`, over a link that neither loses nor doubles."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._call_nowait(effect, settle_future(future), "broker", API_TIMEOUT_S, lossy=False)
        return await future

    def _fail_pending(self, reason: str) -> None:
        loop = asyncio.get_running_loop()
        for settle in list(self._pending.values()):
            loop.call_soon(settle, Outage(reason), context=self._context)
