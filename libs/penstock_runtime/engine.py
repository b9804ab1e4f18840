"""How does input become committed state?

One state and its journal: recover, open a term, gather, decide speculatively, commit; and when an
older writer got in between, recover and decide the same input again. It does not know who leads,
nor what becomes of committed facts.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence

import msgspec

from penstock_bus.port import Bus, StoredMessage, StreamRewound
from penstock_runtime.clock import Clock
from penstock_runtime.entries import Committed
from penstock_runtime.folding import Recovered
from penstock_runtime.inputs import Input, InputQueue
from penstock_runtime.journal import JournalConflict, JournalCut, JournalWriter, SteppedDown
from penstock_runtime.journal_time import JournalTime
from penstock_runtime.keeping import Keeper
from penstock_runtime.outages import until_answered
from penstock_runtime.recovery import Replica
from penstock_runtime.transition import Core, Draft, Offer, Transition

log = logging.getLogger(__name__)

PADDING_MAX = 1_000_000
"""Lost entries whose places are filled: some minutes of the busiest mesh, a day of a quiet one."""
CURSOR_LAG_MAX = 10_000
"""Messages without consequence after which the cursors alone are worth an entry,"""
CURSOR_AGE_NS = 10 * 10**9
"""or the time after which they are."""


class Outcome(msgspec.Struct):
    """What a transition has come to. `done`: whom to tell, with the entry of the event's facts."""

    entries: list[Committed] = []
    done: list[tuple[Offer, Committed | None]] = []
    recovered: bool = False


class Engine:
    """`core`, `cursors` and `journal.last_seq` speak of committed state unless `speculative`."""

    def __init__(
        self,
        bus: Bus,
        *,
        stream: str,
        journal: JournalWriter,
        keeper: Keeper,
        core_factory: Callable[[], Core],
        decode: Callable[[StoredMessage], Committed | None],
        inputs: Sequence[Input],
        clock: Clock,
        wake: Callable[[], None],
        stopping: Callable[[], bool],
        offers: deque[Offer],
    ) -> None:
        self.core = core_factory()
        self.cursors: dict[str, int] = {}
        self.marks: dict[str, int] = {}
        self.offers = offers
        self.speculative = False
        self.gap = 0
        self.counters: Counter[str] = Counter()
        self._bus = bus
        self._stream = stream
        self._journal = journal
        self._keeper = keeper
        self._new_core = core_factory
        self._decode = decode
        self._clock = clock
        self._stopping = stopping
        self._inputs = deque(InputQueue(bus, item, wake) for item in inputs)
        self._opened = False
        self._replica = self._new_replica()
        self._unsettled = True
        self._entry_ns = 0  # of the newest entry: what a snapshot of it is as of, whenever taken
        self.time = JournalTime(clock)
        self._committed = Draft({})
        self._committed_at_ns = 0
        self._messages_idle = 0

    async def follow(self) -> None:
        """Stand by: fold what the active instance commits, so that `start` has little left to do.
        Until cancelled."""
        await self._replica.follow()

    @property
    def followed_seq(self) -> int:
        """How far a standby has folded the journal."""
        return self._replica.seq

    async def start(self) -> None:
        """Recover, open a term with an entry of its own, and begin to read the inputs.

        Raises SteppedDown, JournalLost, Stopping."""
        while not self._opened:
            known_seq = await self._recover()
            now_ns = self.time.now_ns()
            try:
                await self._journal.commit(self._committed, now_ns)
                self._opened, self._entry_ns = True, now_ns
                await self.raise_to(known_seq)
            except JournalConflict as conflict:
                self._opened = False
                log.warning("recovering again: %s", conflict)
        await self._replica.stop_reading()
        await self._open_inputs()

    async def gather(self) -> None:
        """Take in what has arrived; go on with inputs whose streams may have lost something."""
        for queue in self._inputs:
            try:
                if not queue.gather():
                    await self._open_input(queue)
            except StreamRewound:
                await self._open_input(queue, rewound=True)

    async def _open_input(self, queue: InputQueue, *, rewound: bool = False) -> None:
        name = queue.stream
        cursor, mark = self.cursors.get(name, 0), self.marks.get(name)
        begin = await until_answered(
            lambda: queue.open(cursor, mark=mark, rewound=rewound), self._stopping
        )
        if begin < cursor:
            self._keeper.rewound(name)
        if begin != cursor:
            self.marks.pop(name, None)
        self.cursors[name] = begin

    @property
    def idle(self) -> bool:
        return not (self.offers or self._unsettled or any(q.buffer for q in self._inputs))

    def watch(self) -> None:
        """Have the next message of any input wake the service."""
        for queue in self._inputs:
            queue.watch()

    def decide(self) -> Transition:
        """Decide what was gathered, as far as one entry holds it. The state is speculative then."""
        transition = Transition(
            self.core,
            now_ns=self.time.now_ns(),
            next_seq=self._journal.last_seq + 1,
            cursors=self.cursors,
            marks=self.marks,
        )
        self.speculative = True
        while self.offers and not transition.full:
            transition.take_offer(self.offers.popleft())
        for queue in self._inputs:
            buffer, decode = queue.buffer, queue.decode
            while buffer and not transition.full:
                message = buffer.popleft()
                for event in decode(message):
                    transition.take(event)
                transition.move_cursor(queue.stream, message.seq, message.time_ns)
                self._messages_idle += 1
        self._inputs.rotate(-1)  # so that a flood of one input does not starve the others
        if transition.events or self._unsettled:
            self._unsettled = not transition.settle()
        transition.close(even_if_empty=not transition.drafts and self._cursors_are_due(transition))
        return transition

    def _cursors_are_due(self, transition: Transition) -> bool:
        if transition.cursors == self._committed.cursors:
            return False
        age_ns = self._clock.monotonic_ns() - self._committed_at_ns
        return self._messages_idle >= CURSOR_LAG_MAX or age_ns >= CURSOR_AGE_NS

    async def commit(self, transition: Transition) -> Outcome:
        """Append what was decided: then it is state. Raises SteppedDown, JournalLost, Stopping."""
        outcome = Outcome()
        try:
            for draft in transition.drafts:
                entry = await self._journal.commit(draft, transition.now_ns)
                outcome.entries.append(entry)
                outcome.done.extend((offer, entry) for offer in draft.offers)
        except JournalConflict as conflict:
            log.warning("deciding again: %s", conflict)
            again = [o for d in transition.drafts[len(outcome.entries) :] for o in d.offers]
            self.offers.extendleft(reversed(again + transition.offers_without_facts))
            outcome.recovered = True
            await self.recover_again(conflict)
            return outcome
        outcome.done.extend((offer, None) for offer in transition.offers_without_facts)
        self.cursors, self.marks = transition.cursors, transition.marks
        self.speculative = False
        if outcome.entries:
            last = outcome.entries[-1]
            self._committed = Draft(dict(last.cursors), marks=dict(last.marks))
            self._entry_ns = last.now_ns
            self._committed_at_ns = self._clock.monotonic_ns()
            self._messages_idle = 0
        return outcome

    async def recover_again(self, conflict: JournalConflict) -> None:
        """What we hold is not what the journal says."""
        known_seq = await self._recover()
        if isinstance(conflict, JournalCut):
            await self.raise_to(max(known_seq, conflict.known_seq))
        await self._open_inputs()

    async def raise_to(self, seq: int) -> bool:
        """Give no sequence up to `seq` again: the broker has lost entries that somebody holds
        something of. Their places are filled with entries of our term that say nothing. False when
        there is nothing to do, or more than can be done. Raises JournalConflict too."""
        state = await until_answered(lambda: self._bus.stream_state(self._stream), self._stopping)
        missing = seq - self._journal.last_seq
        if missing <= 0 or state.last_seq > self._journal.last_seq:  # not lost: a rival's
            return False
        if missing > PADDING_MAX:
            self.counters["raises_refused"] += 1
            log.critical(
                "somebody holds entry %d of %s, which ends at %d: more than %d cannot be filled up",
                seq, self._stream, self._journal.last_seq, PADDING_MAX,
            )  # fmt: skip
            return False
        self.counters["entries_lost"] += missing
        log.critical("%s has lost %d entries up to %d: filled", self._stream, missing, seq)
        await self._journal.pad(seq, self._committed, self._entry_ns)
        return True

    def snapshot_if_due(self, *, at_end: bool = False) -> None:
        """Take a snapshot of committed state when it is time, before the end, or to leave a gap in
        the journal behind."""
        at_end = at_end or self.gap > 0
        written, cursors = self._journal.counters["entry_bytes"], self._committed.cursors
        if self._keeper.is_due(self._journal.last_seq, written, cursors, at_end=at_end):
            self._keeper.take_snapshot(
                self.core,
                seq=self._journal.last_seq,
                term=self._journal.term,
                now_ns=self._entry_ns,
                cursors=cursors,
                marks=self._committed.marks,
                entry_bytes=written,
            )
            self.gap = 0

    def rewinds(self) -> int:
        return sum(queue.rewinds for queue in self._inputs)

    async def close(self) -> None:
        await self._replica.close()
        for queue in self._inputs:
            await queue.close()

    async def _recover(self) -> int:
        """Returns the highest sequence that is known to have been given."""
        if self._opened:  # what we hold is speculative: begin anew
            self._replica = self._new_replica()
        found: Recovered = await until_answered(self._replica.catch_up, self._stopping)
        if not self._opened:
            self._journal.term = found.term + 1
        elif found.term > self._journal.term:
            raise SteppedDown(f"term {found.term} is open, ours is {self._journal.term}")
        self.core = found.core
        self.cursors = {queue.stream: 0 for queue in self._inputs} | found.cursors
        self.speculative = False
        self.marks = found.marks
        self._committed = Draft(dict(self.cursors), marks=dict(self.marks))
        self._committed_at_ns = self._clock.monotonic_ns()
        self._journal.go_on_behind(found.stream_seq)
        self._entry_ns = found.now_ns
        self.time.begin(found.now_ns)
        self._unsettled = True
        self.gap = found.entries_skipped
        self.counters["entries_skipped"] += found.entries_skipped
        self.counters["facts_left_out"] += found.facts_left_out
        if self._opened:
            await self._replica.stop_reading()
        self._keeper.begin(
            found.snapshot_seq, found.snapshot_cursors, self._journal.counters["entry_bytes"]
        )
        log.info("recovered", extra={"seq": found.seq, "snapshot_seq": found.snapshot_seq})
        published = await until_answered(self._keeper.known_seq, self._stopping)
        return max(found.seq, published)

    def _new_replica(self) -> Replica:
        return Replica(
            self._bus, stream=self._stream, snapshots=self._keeper.store,
            new_core=self._new_core, decode=self._decode,
        )  # fmt: skip

    async def _open_inputs(self) -> None:
        for queue in self._inputs:
            await self._open_input(queue)
