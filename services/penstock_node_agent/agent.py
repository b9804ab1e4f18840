"""What does the agent do, turn by turn?

Events are handled as they arrive; once per loop turn the journal is committed, then everything that
follows leaves: answers, requests to the reaper, reports, usage. It decides nothing: `core` does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from penstock_bus.port import Appended, Bus, Message, Outage
from penstock_contracts.errors import MALFORMED
from penstock_contracts.ids import ROOT
from penstock_contracts.leases import Described, DesiredAck, LeaseRenewal, NodeDesired, lease_digest
from penstock_contracts.nodes import Heartbeat
from penstock_contracts.usage import AuditReply
from penstock_node_agent.core import events
from penstock_node_agent.core.machine import Instructions, changes, handle, judge
from penstock_node_agent.core.usage import batch_now, next_batch
from penstock_node_agent.effects import Effects
from penstock_node_agent.journal import Journal
from penstock_node_agent.telling.outbox import Lane, Parcel
from penstock_node_agent.telling.packing import next_report
from penstock_runtime.clock import Clock
from penstock_runtime.outages import until_answered

SEGMENT_S = 60.0
USAGE_SPACING_S = 0.1
"""Nobody waits for usage but audits, which hurry: ten messages a second pack any rate of jobs."""
AUDIT_S_MAX = 8.0

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_desired = msgspec.json.Decoder(NodeDesired)
_renewal = msgspec.json.Decoder(LeaseRenewal)


class Agent:
    """One node's agent between the bus, its journal and the reaper."""

    def __init__(
        self,
        bus: Bus,
        journal: Journal,
        effects: Effects,
        *,
        clock: Clock,
        heartbeat_s: float,
        on_broken: Callable[[str], None],
        on_failure: Callable[[], None],
    ) -> None:
        self.bus, self.journal, self.effects = bus, journal, effects
        self._boottime_ns, self._heartbeat_s = clock.boottime_ns, heartbeat_s
        self.state = journal.state
        self._on_broken, self._on_failure = on_broken, on_failure
        self._loop = asyncio.get_running_loop()
        self._todo: Instructions = []
        self._answers: list[tuple[Message, DesiredAck]] = []
        self._audits: list[tuple[Message, float]] = []
        self._uncut: list[tuple[Message, float]] = []  # audits that wait for the reaper's mark
        self._scheduled = False
        self._broken = False
        self._hurry = self._must_sync = False
        self._messages = 0
        self._began_ns = clock.boottime_ns()
        root = f"{ROOT}.node.{self.state.node}"
        self._subject = root
        self.reports = Lane(bus, f"{root}.report", self._form_report, wake=self.wake)
        self.usage = Lane(
            bus,
            f"{ROOT}.usage.{self.state.node}",
            self._form_usage,
            wake=self.wake,
            spacing_s=USAGE_SPACING_S,
        )
        self.became_ready = asyncio.Event()
        self.delivered_all = asyncio.Event()
        effects.attach(self)

    # -- the one way in ----------------------------------------------------------------------------
    def take(self, event: events.AnyEvent) -> None:
        """Handle an event; what follows leaves after the next commit."""
        if self._broken:
            return
        if isinstance(event, events.SegmentsCut) and self._uncut:
            event = events.SegmentsCut(at_ns=event.at_ns, audit=True)
        todo = handle(self.state, event)
        self.journal.add(event)
        self._todo += todo
        if self.state.ready and not self.became_ready.is_set():
            self.became_ready.set()
        if isinstance(event, events.Ended) and event.code != 0:
            self._on_failure()
        if isinstance(event, events.SegmentsCut):
            self._audits += self._uncut
            self._uncut.clear()
        elif isinstance(event, events.ReaperReady) and self._uncut:
            self.effects.cut()
        if self._hurry and self.owes_nothing():
            self.delivered_all.set()
        self.wake()

    def wake(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if self._broken:
            return
        try:
            self._commit_and_follow()
        except OSError as error:  # nothing may follow from what could not be written down
            self._broken = True
            log.critical("the journal cannot be written: %s", error)
            self._on_broken("journal")

    def _commit_and_follow(self) -> None:
        synced = self.journal.commit(sync=self._must_sync)
        for message, ack in self._answers:
            self.bus.respond_nowait(message, _encode(ack))
        self._answers.clear()
        todo, self._todo = self._todo, []
        for instruction in todo:
            self.effects.follow(instruction)
        self._must_sync = False
        self.effects.flush(synced=synced)
        self.reports.pump()
        self.usage.pump(hurry=bool(self._audits) or self._hurry)

    # -- the bus -----------------------------------------------------------------------------------
    async def listen(self) -> None:
        """Take orders from now on, once the broker hears of it."""
        takers = {"audit": self._on_audit, "renewal": self._on_renewal, "desired": self._on_desired}
        for what, take in takers.items():
            subscribe = partial(self.bus.subscribe, f"{self._subject}.{what}", take)
            await until_answered(subscribe, stopping=lambda: False)

    async def beat(self) -> None:
        """Heartbeats, and a cut of all segments once a minute, until cancelled."""
        next_cut = self._loop.time() + SEGMENT_S
        while True:
            self.effects.look_around()
            self._heartbeat()
            self._give_up_audits()
            if self.effects.may_forget:
                self._must_sync = True
                self.wake()
            if self._loop.time() >= next_cut:
                next_cut += SEGMENT_S
                self.effects.cut()
            await asyncio.sleep(self._heartbeat_s)

    def hurry(self) -> None:
        """The process is about to end: whatever is owed leaves at once."""
        self._hurry = True
        self.wake()

    def close(self) -> None:
        """Nothing more leaves; the journal keeps what is owed."""
        self.reports.close()
        self.usage.close()
        self.effects.shipper.close()
        self.effects.room.close()
        self.effects.workbench.close()
        if not self._broken:
            self.journal.commit()
        self._broken = True
        self.journal.close()

    def owes_nothing(self) -> bool:
        state = self.state
        owed = state.reports or state.usage or state.slices or state.former or state.spools
        return not owed

    def _on_desired(self, message: Message) -> None:
        try:
            desired = _desired.decode(message.payload)
        except MALFORMED as error:
            log.error("an order that cannot be read: %s", error)
            return
        ack = judge(self.state, desired)
        if ack.ok and changes(self.state, desired):
            self.take(events.Ordered(at_ns=self._boottime_ns(), desired=desired))
        self._answers.append((message, ack))
        self.wake()

    def _on_renewal(self, message: Message) -> None:
        try:
            renewal = _renewal.decode(message.payload)
        except MALFORMED as error:
            log.error("a renewal that cannot be read: %s", error)
            return
        self.effects.renew(renewal.sent_boot_ns)

    def _on_audit(self, message: Message) -> None:
        self._uncut.append((message, self._loop.time() + AUDIT_S_MAX))
        self.effects.cut()

    def _give_up_audits(self) -> None:
        now = self._loop.time()
        for waiting in (self._audits, self._uncut):
            while waiting and waiting[0][1] < now:
                self._answer_audit(waiting.pop(0)[0], 0)

    def _answer_audit(self, message: Message, usage_seq: int) -> None:
        reply = AuditReply(self.state.node, self.state.boot_id, usage_seq)
        self.bus.respond_nowait(message, _encode(reply))

    def _heartbeat(self) -> None:
        state = self.state
        beat = Heartbeat(
            node=state.node,
            boot_id=state.boot_id,
            sent_boot_ns=self._boottime_ns(),
            as_of=state.as_of,
            digest=lease_digest(state.held_keys()),
            running=state.running(),
        )
        try:
            self.bus.publish_nowait(f"{self._subject}.heartbeat", _encode(beat))
        except Outage:
            return  # the next one says the same

    # -- what is owed ------------------------------------------------------------------------------
    def _form_report(self) -> Parcel | None:
        state = self.state
        if not state.reports:
            return None
        first = state.reports[0]
        if isinstance(first, Described):
            return Parcel(
                _encode(first.description),
                self._message_id("description"),
                lambda stored: self.take(events.ReportsDelivered(count=1)),
                f"{self._subject}.description",
            )
        payload, count = next_report(state)
        return Parcel(
            payload,
            self._message_id("report"),
            lambda stored: self.take(events.ReportsDelivered(count=count)),
        )

    def _form_usage(self) -> Parcel | None:
        state, now = self.state, self._boottime_ns()
        batch = next_batch(state, now)
        if batch is None:
            if not self._audits:
                return None
            batch = batch_now(state, now)
        former = bool(state.former)
        count, slices = (0, 0) if former else (len(batch.segments), len(batch.slices))
        answers: list[tuple[Message, float]] = []
        if not former:
            self._number(batch.batch)
            if batch.counters or not state.counters:
                answers, self._audits = self._audits, []

        def done(stored: Appended) -> None:
            self.take(events.UsageDelivered(count=count, slices=slices, former=former))
            for message, _ in answers:
                self._answer_audit(message, stored.seq)

        return Parcel(_encode(batch), self._message_id("usage"), done)

    def _number(self, batch: int) -> None:
        """What a usage message says is on the disk before it leaves: no power loss undoes it."""
        event = events.BatchNumbered(batch=batch)
        handle(self.state, event)
        self.journal.add(event)
        self.journal.commit(sync=True)

    def _message_id(self, kind: str) -> str:
        """New for every message of every start, also of one without the journal of those before;
        a repeat of the same bytes keeps it."""
        self._messages += 1
        state = self.state
        return f"{kind}/{state.node}/{state.boot_id}/{self._began_ns}/{self._messages}"

    def counts(self) -> dict[str, Any]:
        """What this agent owes and holds, for its metrics."""
        state = self.state
        return {
            "leases": len(state.leases),
            "running": state.running(),
            "reports_owed": len(state.reports),
            "segments_owed": len(state.usage),
            "spools": len(state.spools),
        }
