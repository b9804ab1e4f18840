"""How does a service live whose state is a journal?

Lead, recover, open a term, then: gather what has arrived, decide, append one fenced entry, and
only then let effects and answers out. While an append is in flight the next transition gathers.
It does not know what the service decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from penstock_bus.port import Bus, Message
from penstock_runtime.answers import Answers, Handler
from penstock_runtime.background import Background
from penstock_runtime.clock import Clock
from penstock_runtime.engine import OFFERS_MAX, Engine, Outcome
from penstock_runtime.entries import Committed, entry_decoder
from penstock_runtime.inputs import Input
from penstock_runtime.journal import JournalWriter, SteppedDown, Stopping
from penstock_runtime.keeping import Keeper
from penstock_runtime.leadership import Leadership, this_process
from penstock_runtime.process import EXIT_OK, EXIT_STEPPED_DOWN, StopSignal
from penstock_runtime.transition import Core, Offer, OnDone

__all__ = ["Committed", "Core", "Input", "JournaledService"]

log = logging.getLogger(__name__)

TIDY_S = 2.0
FAREWELL_S_MAX = 6.0
"""Last snapshot, cursors and release of the lock: within the drain, also with the broker away."""


class JournaledService:
    """The shell around one pure core. `core` is of committed state whenever `on_commit`,
    `on_recovered`, an `on_done` or a query handler runs; it is another object after a recovery."""

    def __init__(
        self,
        bus: Bus,
        *,
        name: str,
        stream: str,
        subject: str,
        fact_type: Any,
        core_factory: Callable[[], Core],
        inputs: Sequence[Input],
        clock: Clock,
        new_id: Callable[[], str],
        on_commit: Callable[[Committed], None] = lambda _: None,
        on_recovered: Callable[[], None] = lambda: None,
        on_active: Callable[[], Awaitable[None]] | None = None,
        snapshot_every: int = 20_000,
        owns: Sequence[str] = (),
        readers: Mapping[str, Sequence[str]] | None = None,
        leadership: Leadership | None = None,
    ) -> None:
        """`on_recovered` runs when state was read from the journal: derive anew what is derived,
        repeat effects by reconciliation. `on_active` runs once, when the service accepts input."""
        self.name = name
        self.writer = f"{name}-{new_id()}"
        self.phase = "starting"
        self._bus = bus
        self._on_commit = on_commit
        self._on_recovered = on_recovered
        self._on_active = on_active
        self._counters: Counter[str] = Counter()
        self._stop: StopSignal | None = None
        self._rival: str | None = None
        self._background = Background(self._wake)
        self._waker: asyncio.Future[None] | None = None
        decode = entry_decoder(fact_type)
        self._journal = JournalWriter(
            bus, stream=stream, subject=subject, writer=self.writer, new_id=new_id,
            decode=decode, stopping=self._is_stopping,
        )  # fmt: skip
        self._keeper = Keeper(
            bus, service=name, journal=stream, inputs=[item.stream for item in inputs],
            owns=owns, readers=readers or {}, clock=clock, snapshot_every=snapshot_every,
        )  # fmt: skip
        self._engine = Engine(
            bus, stream=stream, journal=self._journal, keeper=self._keeper,
            core_factory=core_factory, decode=decode, inputs=inputs, clock=clock,
            wake=self._wake, stopping=self._is_stopping,
        )  # fmt: skip
        self._leadership = leadership or Leadership(
            bus, service=name, us=this_process(self.writer), clock=clock
        )
        self._answers = Answers(
            bus, is_committed=lambda: not self._engine.speculative, on_bug=self._background.fail
        )

    # -- for the shell around it -------------------------------------------------------------------
    @property
    def core(self) -> Any:
        return self._engine.core

    @property
    def last_seq(self) -> int:
        """The sequence of the newest entry that is committed and applied."""
        return self._journal.last_seq

    @property
    def term(self) -> int:
        return self._journal.term

    @property
    def cursors(self) -> Mapping[str, int]:
        """How far each input is consumed; the journal may say so a little later."""
        return self._engine.cursors

    def offer(self, event: Any) -> bool:
        """Let an event without a cursor (heartbeat, timer) join the next transition; False when
        this instance is not active or too much waits already: it is dropped and counted."""
        return self.submit_nowait(event, None)

    def submit_nowait(self, event: Any, on_done: OnDone | None) -> bool:
        """`offer` that tells `on_done` the entry with the event's (last) facts once committed, or
        None when nothing followed from it. It is called on committed state and must not raise;
        never when False is returned."""
        if self.phase != "active" or len(self._engine.offers) >= OFFERS_MAX:
            self._counters["offers_dropped"] += 1
            return False
        self._engine.offers.append(Offer(event, on_done))
        self._wake()
        return True

    def submit(self, event: Any) -> asyncio.Future[Committed | None]:
        """`submit_nowait` to await; cancelled when the event is not taken."""
        future: asyncio.Future[Committed | None] = asyncio.get_running_loop().create_future()

        def tell(entry: Committed | None) -> None:
            if not future.done():
                future.set_result(entry)

        if not self.submit_nowait(event, tell):
            future.cancel()
        return future

    def answer(self, subject: str, handler: Handler) -> None:
        """Answer queries from committed state while active; declared before `run`."""
        self._answers.answer(subject, handler)

    def listen(self, subject: str, handler: Callable[[Message], None]) -> None:
        """Hear a core subject while active, at once; declared before `run`."""
        self._answers.listen(subject, handler)

    def fill(self, stream: str) -> float | None:
        """How full an owned stream is, from 0 to 1; None = not known (yet)."""
        return self._keeper.fill.get(stream)

    def why_not_ready(self) -> str | None:
        """None while this instance is active and the broker takes its entries."""
        if self.phase == "standby":
            holder = self._leadership.holder
            return f"standby: {holder.writer if holder else 'nobody yet'} leads"
        if self.phase != "active":
            return self.phase
        return self._journal.trouble if self._bus.connected else "the broker is not connected"

    def count(self) -> dict[str, int]:
        """Everything counted since the start, by name."""
        total = dict(self._counters)
        for source in (self._journal, self._engine, self._keeper, self._answers):
            for name, value in source.counters.items():
                total[name] = total.get(name, 0) + value
        total["input_rewinds"] = self._engine.rewinds()
        return total

    # -- life --------------------------------------------------------------------------------------
    async def run(self, stop: StopSignal) -> int:
        """Live until stopped or another instance takes over; returns the exit code. Raises
        JournalLost and whatever the core raises."""
        self._stop = stop
        stopping = self._background.spawn(self._wake_at_stop(stop))
        try:
            self.phase = "standby"
            if not await self._leadership.acquire(self._is_stopping):
                return EXIT_OK
            self._background.spawn(self._hold_lock())
            self.phase = "recovering"
            await self._start(stopping)
            await self._activate()
            self._background.spawn(self._keep_tidy())
            await self._work()
            await self._say_farewell()
            return EXIT_OK
        except SteppedDown as reason:
            log.warning("stepping down: %s", reason)
            return EXIT_STEPPED_DOWN
        except Stopping as reason:
            log.warning("ending with the broker away: %s", reason)
            return EXIT_OK
        finally:
            self.phase = "ended"
            await self._background.end()
            await self._answers.close()
            await self._engine.close()

    async def _start(self, stopping: asyncio.Task[None]) -> None:
        """Recover, unless asked to stop before it is done (a replay waits for the broker)."""
        starting = asyncio.ensure_future(self._engine.start())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            raise Stopping("asked to stop while recovering")
        starting.result()

    async def _activate(self) -> None:
        self.phase = "active"
        self._on_recovered()
        await self._answers.open()
        if self._on_active is not None:
            await self._on_active()
        log.info("active", extra={"term": self.term, "seq": self.last_seq})

    async def _work(self) -> None:
        engine = self._engine
        woken = False
        while not self._is_stopping():
            if self._background.failure is not None:
                raise self._background.failure
            if self._rival is not None:
                raise SteppedDown(f"{self._rival} has the lock")
            for queue in engine.gather():
                await engine.reopen(queue)
            if engine.idle and not self._answers.waiting and not woken:
                await self._sleep()
                woken = True
                continue
            woken = False
            outcome = await engine.commit(engine.decide())
            self._let_out(outcome)
            self._answers.answer_waiting()
            engine.snapshot_if_due()

    def _let_out(self, outcome: Outcome) -> None:
        """Effects and answers of what is committed."""
        if outcome.recovered:
            self._on_recovered()
        else:
            for entry in outcome.entries:
                self._on_commit(entry)
        for offer, entry_or_none in outcome.done:
            if offer.on_done is not None:
                offer.on_done(entry_or_none)

    async def _sleep(self) -> None:
        """Until a message, an offer, housekeeping, a rival or the stop."""
        self._engine.watch()
        self._waker = asyncio.get_running_loop().create_future()
        try:
            await self._waker
        finally:
            self._waker = None

    def _wake(self) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    async def _wake_at_stop(self, stop: StopSignal) -> None:
        await stop.wait()
        self._wake()

    async def _hold_lock(self) -> None:
        self._rival = await self._leadership.hold()
        self._wake()

    async def _keep_tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_S)
            await self._keeper.tidy()
            self._wake()  # cursors or a snapshot may be due although nothing arrives

    async def _say_farewell(self) -> None:
        await self._answers.close()
        try:
            async with asyncio.timeout(FAREWELL_S_MAX):
                await self._keeper.finish_upload()
                self._engine.snapshot_if_due(at_end=True)
                await self._keeper.finish_upload()
                await self._keeper.tidy()
                await self._leadership.release()
        except TimeoutError:
            log.warning("the broker is too slow for a last snapshot: a restart replays more")

    def _is_stopping(self) -> bool:
        return self._stop is not None and self._stop.requested
