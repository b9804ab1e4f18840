"""What happens to one job, from its first fact to its end, without a gap?

Live facts come by a core subscription, which may miss some while the connection is away; the stream
FACTS holds them all. So whatever may have been missed is read from the stream before anything newer
is told. It does not know output or how facts are shown.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType

import msgspec

from penstock_bus.port import Bus, BusRefusal, Message, Outage, Subscription
from penstock_client.subjects import ANY, subject_of
from penstock_contracts.errors import MALFORMED
from penstock_contracts.jobs import TERMINAL, TRANSITIONS
from penstock_contracts.public import JobEvent

STREAM = "FACTS"
SILENCE_S = 2.0
"""After so long without a fact the stream is looked at, whatever the connection believes."""
LIVE_MAX = 10_000
"""Unread live facts kept; beyond it they are dropped and read from the stream later."""
READ_MAX = 256

_decode = msgspec.json.Decoder(JobEvent).decode
Position = tuple[int, int]


class JobFollower:
    """Every fact of a job once, in order. `async with` subscribes; iterate `events()` to the end.

    `after`: facts up to this (seq, index) are known already. With `fresh` the job has just been
    made by the caller, so that there is no past to read first.
    """

    def __init__(
        self, bus: Bus, tenant: str, job_id: str, *, after: Position = (0, 0), fresh: bool = False
    ) -> None:
        self._bus = bus
        self._subject = subject_of("job_event", tenant=tenant, job_id=job_id, fact=ANY)
        self._told = after
        self._last_fact = ""
        self._live: deque[JobEvent] = deque()
        self._behind = not fresh
        self._stream_seq = 0
        self._wake = asyncio.Event()
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> JobFollower:
        self._subscription = await self._bus.subscribe(self._subject, self._on_message)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._subscription is not None:
            await self._subscription.close()

    def reconnected(self) -> None:
        """The connection was away: something may have been missed."""
        self._behind = True
        self._wake.set()

    async def events(self) -> AsyncIterator[JobEvent]:
        """Ends with the terminal fact. Outages are waited out."""
        while True:
            if self._behind:
                async for event in self._stored():
                    yield event
                    if event.fact in TERMINAL:
                        return
            while self._live and not self._behind:
                event = self._live[0]
                if self._is_told(event):
                    self._live.popleft()
                elif self._follows(event):
                    self._live.popleft()
                    self._tell(event)
                    yield event
                    if event.fact in TERMINAL:
                        return
                else:
                    self._behind = True
            if not self._behind:
                await self._wait()

    def _on_message(self, message: Message) -> None:
        try:
            event = _decode(message.payload)
        except MALFORMED:
            return  # not a fact of ours; the stream is read in any case
        if len(self._live) >= LIVE_MAX:
            self._live.clear()
            self._behind = True
        self._live.append(event)
        self._wake.set()

    async def _wait(self) -> None:
        """Until something arrives; silence is a reason to look at the stream."""
        try:
            await asyncio.wait_for(self._wake.wait(), SILENCE_S)
        except TimeoutError:
            self._behind = True
        self._wake.clear()

    async def _stored(self) -> AsyncIterator[JobEvent]:
        """Facts of the stream behind the last one told. Afterwards live facts are trusted again."""
        self._behind = False  # what is lost from here on sets it again
        try:
            while stored := await self._bus.read_many(
                STREAM, self._stream_seq + 1, self._subject, limit=READ_MAX
            ):
                for message in stored:
                    self._stream_seq = message.seq
                    event = _decode(message.payload)
                    if not self._is_told(event):
                        self._tell(event)
                        yield event
        except (Outage, BusRefusal):
            await asyncio.sleep(SILENCE_S / 4)
            self._behind = True
            return
        if self._live and not self._is_told(self._live[0]):
            # The stream has no more, so whatever is missing before it was never a fact.
            self._last_fact = ""

    def _is_told(self, event: JobEvent) -> bool:
        return (event.seq, event.index) <= self._told

    def _tell(self, event: JobEvent) -> None:
        self._told = (event.seq, event.index)
        self._last_fact = event.fact

    def _follows(self, event: JobEvent) -> bool:
        """Whether this can be the next fact; if not, one was missed."""
        return not self._last_fact or event.fact in TRANSITIONS.get(self._last_fact, ())
