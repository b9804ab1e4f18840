"""When may a question be answered?

Only from committed state: at once while nothing is speculative, else after the append that is in
flight. It does not know the questions.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from penstock_bus.port import Bus, BusRefusal, Message, Outage, Subscription
from penstock_contracts.errors import InvariantError, Refusal
from penstock_contracts.queries import Answer, Empty
from penstock_runtime.entries import encode_json
from penstock_runtime.outages import until_answered

log = logging.getLogger(__name__)

Handler = Callable[[Message], bytes]

WAITING_MAX = 1_000
PER_GAP_MAX = 32
"""Questions answered between two transitions: a burst of them must not hold up the journal."""
UNAVAILABLE = encode_json(
    Answer[Empty](refusal=Refusal("unavailable", "The service cannot answer this now; try again."))
)
TOO_LARGE = encode_json(
    Answer[Empty](refusal=Refusal("answer_too_large", "The answer is too large; ask for less."))
)


class Answers:
    """Queries of one service, and plain subscriptions that live as long."""

    def __init__(
        self,
        bus: Bus,
        *,
        is_committed: Callable[[], bool],
        on_bug: Callable[[InvariantError], None],
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._bus = bus
        self._is_committed = is_committed
        self._on_bug = on_bug
        self._declared: list[tuple[str, Callable[[Message], None]]] = []
        self._subscriptions: list[Subscription] = []
        self._waiting: deque[tuple[Message, Handler]] = deque()

    def answer(self, subject: str, handler: Handler) -> None:
        """Answer `subject` with what the handler makes of committed state. Before `open`."""
        self._declared.append((subject, lambda message: self._receive(message, handler)))

    def listen(self, subject: str, handler: Callable[[Message], None]) -> None:
        """Call a plain handler at once, whatever state is in flight. Before `open`."""
        self._declared.append((subject, handler))

    async def open(self, stopping: Callable[[], bool]) -> None:
        """Be asked from now on, once the broker hears of it. Raises Stopping."""
        for subject, receive in self._declared:
            subscribe = partial(self._bus.subscribe, subject, receive)
            self._subscriptions.append(await until_answered(subscribe, stopping))

    async def close(self) -> None:
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            with suppress(Outage):  # a lost connection has ended it already
                await subscription.close()
        self._waiting.clear()

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    def answer_waiting(self) -> None:
        """Answer some of what had to wait, on committed state."""
        for _ in range(min(PER_GAP_MAX, len(self._waiting))):
            self._reply(*self._waiting.popleft())

    def _receive(self, message: Message, handler: Handler) -> None:
        if self._is_committed() and not self._waiting:
            self._reply(message, handler)
        elif len(self._waiting) < WAITING_MAX:
            self._waiting.append((message, handler))
        else:
            self.counters["queries_refused"] += 1
            self._bus.respond_nowait(message, UNAVAILABLE)

    def _reply(self, message: Message, handler: Handler) -> None:
        self.counters["queries"] += 1
        try:
            payload = handler(message)
        except InvariantError as bug:
            self._on_bug(bug)
            payload = UNAVAILABLE
        except Exception:  # one question that cannot be answered must not end the service
            log.exception("query failed", extra={"subject": message.subject})
            self.counters["queries_failed"] += 1
            payload = UNAVAILABLE
        try:
            self._bus.respond_nowait(message, payload)
        except BusRefusal as error:
            log.error("an answer is not sent: %s", error, extra={"subject": message.subject})
            self.counters["answers_too_large"] += 1
            self._bus.respond_nowait(message, TOO_LARGE)
