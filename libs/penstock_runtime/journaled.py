"""How does a service live whose state is a journal?

Lead, recover, open a term, then: gather what has arrived, decide, append one fenced entry, and
only then let effects and answers out. While an append is in flight the next transition gathers.
It does not know what the service decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penstock_bus.port import Bus, Message
from penstock_runtime.answers import Answers, Handler
from penstock_runtime.background import Background
from penstock_runtime.clock import Clock
from penstock_runtime.engine import Engine, Outcome
from penstock_runtime.entries import Committed, entry_decoder
from penstock_runtime.inputs import Input
from penstock_runtime.journal import JournalConflict, JournalWriter, SteppedDown, new_id
from penstock_runtime.keeping import Keeper
from penstock_runtime.leadership import Holder, Leadership, this_process
from penstock_runtime.offers import OfferTaker
from penstock_runtime.outages import Stopping
from penstock_runtime.pace import Pace
from penstock_runtime.process import EXIT_OK, EXIT_STEPPED_DOWN, StopSignal
from penstock_runtime.standby import stand_by, unless_stopped
from penstock_runtime.transition import Core

__all__ = ["Committed", "Core", "Input", "JournaledService", "new_id"]

log = logging.getLogger(__name__)

FAREWELL_S_MAX = 6.0
"""Release of the lock, last snapshot and cursors: within the drain, also with the broker away."""


class JournaledService(OfferTaker):
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
        new_id: Callable[[], str] = new_id,
        on_commit: Callable[[Committed], None] = lambda _: None,
        on_recovered: Callable[[], None] = lambda: None,
        on_raised: Callable[[], None] = lambda: None,
        snapshot_every: int = 20_000,
        owns: Sequence[str] = (),
        readers: Mapping[str, Sequence[str]] | None = None,
        leadership: Leadership | None = None,
        identify: Callable[[str], Holder] = this_process,
        pace: Pace | None = None,
    ) -> None:
        """`identify` says who a writer is on its host. `on_recovered` runs when state was read from
        the journal: derive anew what is derived, repeat effects by reconciliation. `on_raised`: see
        `raise_to`."""
        super().__init__()
        self.name = name
        self.writer = f"{name}-{new_id()}"
        self.phase = "starting"
        self._bus = bus
        self._on_commit = on_commit
        self._on_recovered = on_recovered
        self._on_raised = on_raised
        self._known_seq = 0
        self._stop: StopSignal | None = None
        self._rival: str | None = None
        self._background = Background(self.wake)
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
            wake=self.wake, stopping=self._is_stopping, offers=self.waiting,
        )  # fmt: skip
        self._pace = pace or Pace()
        self._leadership = leadership or Leadership(
            bus, service=name, us=identify(self.writer), clock=clock,
            silence_s=self._pace.silence_s, refresh_s=self._pace.refresh_s,
            poll_s=self._pace.poll_s,
        )  # fmt: skip
        self._answers = Answers(
            bus, is_committed=lambda: not self._engine.speculative, on_bug=self._background.fail
        )

    # -- for the shell around it -------------------------------------------------------------------
    def taking(self) -> bool:
        return self.phase == "active"

    def wake(self) -> None:
        """Something is there to be done."""
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    @property
    def core(self) -> Any:
        return self._engine.core

    @property
    def last_seq(self) -> int:
        """The sequence of the newest entry that is committed and applied."""
        return self._journal.last_seq

    @property
    def speculative(self) -> bool:
        """Whether the core holds what is not committed yet."""
        return self._engine.speculative

    @property
    def term(self) -> int:
        return self._journal.term

    @property
    def cursors(self) -> Mapping[str, int]:
        """How far each input is consumed; the journal may say so a little later."""
        return self._engine.cursors

    def raise_to(self, seq: int) -> None:
        """Somebody holds something of the journal's entry `seq`. Should that lie beyond `last_seq`,
        the broker has lost entries: no sequence up to it is given again, and `on_raised` runs
        before anything else is decided."""
        if seq > max(self._known_seq, self.last_seq):
            self._known_seq = seq
            self.wake()

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
            return f"standby at {self._engine.followed_seq}: {self._leadership.why_waiting()}"
        if self.phase != "active":
            return self.phase
        return self._journal.trouble if self._bus.connected else "the broker is not connected"

    def count(self) -> dict[str, int]:
        """Everything counted since the start, by name."""
        total = dict(self.counters)
        engine = self._engine
        for counters in (
            self._journal.counters, engine.counters, engine.time.counters,
            self._keeper.counters, self._answers.counters,
        ):  # fmt: skip
            for name, value in counters.items():
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
            if not await stand_by(
                self._leadership, self._engine.follow,
                stopping=self._is_stopping, delay_s=self._pace.poll_s,
            ):  # fmt: skip
                return EXIT_OK
            self._background.spawn(self._hold_lock())
            self.phase = "recovering"
            await unless_stopped(self._engine.start(), stopping)
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

    async def _activate(self) -> None:
        self.phase = "active"
        self._on_recovered()
        await self._answers.open(self._is_stopping)
        log.info("active", extra={"term": self.term, "seq": self.last_seq})

    async def _work(self) -> None:
        engine = self._engine
        woken = False
        while not self._is_stopping():
            if self._background.failure is not None:
                raise self._background.failure
            if self._rival is not None:
                raise SteppedDown(f"{self._rival} has the lock")
            await engine.gather()
            if self._known_seq > self.last_seq:
                await self._raise()
            if engine.idle and not self._answers.waiting and not woken:
                await self._sleep()
                woken = True
                continue
            woken = False
            outcome = await engine.commit(engine.decide())
            self._let_out(outcome)
            self._answers.answer_waiting()
            engine.snapshot_if_due()

    async def _raise(self) -> None:
        known_seq, self._known_seq = self._known_seq, 0
        try:
            if await self._engine.raise_to(known_seq):
                self._on_raised()
        except JournalConflict as conflict:
            log.warning("recovering: %s", conflict)
            await self._engine.recover_again(conflict)
            self._on_recovered()

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

    async def _wake_at_stop(self, stop: StopSignal) -> None:
        await stop.wait()
        self.wake()

    async def _hold_lock(self) -> None:
        self._rival = await self._leadership.hold()
        self.wake()

    async def _keep_tidy(self) -> None:
        while True:
            await asyncio.sleep(self._pace.tidy_s)
            await self._keeper.tidy()
            self.raise_to(self._keeper.seen_seq)
            self.wake()  # cursors or a snapshot may be due although nothing arrives

    async def _say_farewell(self) -> None:
        await self._answers.close()
        try:
            async with asyncio.timeout(FAREWELL_S_MAX):
                await self._leadership.release()  # nothing more is committed: the next may begin
                await self._keeper.finish_upload()
                self._engine.snapshot_if_due(at_end=True)
                await self._keeper.finish_upload()
                await self._keeper.tidy()
        except TimeoutError:
            log.warning("the broker is too slow for a last snapshot: a restart replays more")

    def _is_stopping(self) -> bool:
        return self._stop is not None and self._stop.requested
