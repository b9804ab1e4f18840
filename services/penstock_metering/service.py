"""How does metering live?

Wiring: lead, take the ledger, then intake, answers, housekeeping and, where wished for, followers
that trace and that tell of use, until stopped or superseded. The same in production and in
simulation: what differs (bus, database, clock, ids, where blocking work runs) is given. It does not
decide anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

import sqlalchemy as sa

from penstock_bus.port import Bus
from penstock_metering.answers import Answers
from penstock_metering.audit import Auditor
from penstock_metering.budgets.keeper import BudgetKeeper
from penstock_metering.commands import Commands
from penstock_metering.config import RAW_KEPT_DAYS
from penstock_metering.deriving import Deriver
from penstock_metering.exports.pages import Exports
from penstock_metering.exports.tracing import TracingFollower
from penstock_metering.exports.usage_events import UsageEvents
from penstock_metering.housekeeping import NAME, Housekeeper
from penstock_metering.intake import Intake
from penstock_metering.ledger.database import Database
from penstock_metering.ledger.fence import Superseded, Writer, last_writer
from penstock_metering.ledger.ingest import DatabaseBusy, Ingest, open_ledger
from penstock_metering.ledger.retention import Retention
from penstock_metering.money_commands import COMMANDS
from penstock_metering.progress import Progress
from penstock_metering.reading import Library
from penstock_metering.recall import Recall
from penstock_metering.threads import Run
from penstock_runtime.background import Background
from penstock_runtime.clock import Clock
from penstock_runtime.leadership import Holder, Leadership, this_process
from penstock_runtime.metrics import Metric
from penstock_runtime.outages import Stopping
from penstock_runtime.pace import Pace
from penstock_runtime.process import EXIT_OK, EXIT_STEPPED_DOWN, StopSignal

log = logging.getLogger(__name__)

PACE = Pace(refresh_s=3.0, silence_s=9.0, poll_s=0.5)
"""Nobody waits for the ledger: its lock is handed on at leisure."""
OPEN_RETRY_S = 1.0
FAREWELL_S_MAX = 5.0
"""Last cursors and release of the lock: within the drain, also with the broker away."""


class Metering:
    """One instance, active or standing by. `write`, `read` and `read_long` (for what takes seconds;
    None = as `read`) say where blocking work runs. The database is opened when this instance leads,
    and closed by whoever made it. `end_predecessor` ends a frozen writer that holds the database's
    lock."""

    def __init__(
        self,
        bus: Bus,
        database: Database,
        *,
        clock: Clock,
        new_id: Callable[[], str],
        write: Run,
        read: Run,
        us: Holder | None = None,
        pace: Pace | None = None,
        end_predecessor: Callable[[Writer, Writer], bool] | None = None,
        otlp_endpoint: str | None = None,
        usage_events: bool = False,
        read_long: Run | None = None,
        raw_kept_days: int = RAW_KEPT_DAYS,
    ) -> None:
        us = us or this_process(f"{NAME}-{new_id()}")
        self.phase = "starting"
        self.progress = Progress()
        self.ingest: Ingest | None = None
        self.intake: Intake | None = None
        self.housekeeper = Housekeeper(bus, self.progress, self._confirm)
        self._deriver = Deriver(write, clock)
        self.auditor = Auditor(bus, Library(database), self.progress, read, clock, self._deriver)
        self.tracing = TracingFollower(bus, otlp_endpoint) if otlp_endpoint else None
        self.usage_events = UsageEvents(bus, database, read_long or read) if usage_events else None
        self._bus = bus
        self._database = database
        self._clock = clock
        self._write = write
        self._end_predecessor = end_predecessor
        pace = pace or PACE
        self._leadership = Leadership(
            bus, service=NAME, us=us, clock=clock,
            silence_s=pace.silence_s, refresh_s=pace.refresh_s, poll_s=pace.poll_s,
        )  # fmt: skip
        self._writer = Writer(name=us.writer, host=us.host, pid=us.pid, pid_start=us.pid_start)
        self._commands = Commands(write, clock, COMMANDS)
        self._raw_kept_days = raw_kept_days
        self._answers = Answers(
            bus, Library(database), self.auditor, read, self.progress, self._commands,
            Exports(database, read_long or read), clock, self._deriver,
        )  # fmt: skip

    def why_not_ready(self) -> str | None:
        """None while this instance is active and reads every stream."""
        if not self._bus.connected:
            return "not connected to NATS"
        if self.phase == "standby":
            return f"standby: {self._leadership.why_waiting()}"
        if self.phase != "active" or self.intake is None:
            return self.phase
        return self.intake.why_not_ready()

    async def run(self, stop: StopSignal) -> int:
        """Live until stopped or another instance takes over; returns the exit code."""
        ended = asyncio.Event()
        background = Background(ended.set)
        background.spawn(_pass_on(stop, ended))
        try:
            self.phase = "standby"
            if not await self._leadership.acquire(lambda: stop.requested):
                return EXIT_OK
            background.spawn(self._hold_lock())
            self.phase = "opening the ledger"
            ingest = await self._open(ended)
            if ingest is not None:
                await self._activate(ingest, background, lambda: stop.requested)
                await ended.wait()
            if background.failure is not None:
                raise background.failure
            await self._say_farewell()
            return EXIT_OK
        except Superseded as reason:
            log.warning("stepping down: %s", reason)
            return EXIT_STEPPED_DOWN
        except Stopping as reason:
            log.warning("ending with the broker away: %s", reason)
            return EXIT_OK
        finally:
            self.phase = "ended"
            await background.end()
            await self._answers.close()

    async def _open(self, ended: asyncio.Event) -> Ingest | None:
        """Take the ledger from whoever wrote it before; None when told to end first."""
        while not ended.is_set():
            try:
                return await self._write(open_ledger, self._database, self._writer)
            except DatabaseBusy as error:
                log.error("the ledger cannot be opened, trying again: %s", error)
            if self.phase == "waiting for the ledger" and self._end_predecessor is not None:
                await self._write(self._make_way, self._end_predecessor)
            self.phase = "waiting for the ledger"
            try:
                async with asyncio.timeout(OPEN_RETRY_S):
                    await ended.wait()
            except TimeoutError:
                continue
        return None

    def _make_way(self, end_predecessor: Callable[[Writer, Writer], bool]) -> None:
        try:
            end_predecessor(last_writer(self._database), self._writer)
        except sa.exc.DBAPIError as error:
            log.error("who holds the ledger's lock is not known: %s", error)

    async def _activate(
        self, ingest: Ingest, background: Background, stopping: Callable[[], bool]
    ) -> None:
        self.ingest = self._commands.ingest = self._deriver.ingest = ingest
        self.intake = Intake(self._bus, ingest, self.progress, self._write)
        for work in self.intake.work():
            background.spawn(work)
        background.spawn(self.housekeeper.run())
        recall = Recall(self._bus, ingest, self.progress, self._write, self._clock)
        background.spawn(recall.run())
        background.spawn(self._deriver.run())
        keeper = BudgetKeeper(self._bus, ingest, self._write, self._clock)
        self._commands.on_done = keeper.wake
        background.spawn(keeper.run())
        background.spawn(Retention(ingest, self._write, self._clock, self._raw_kept_days).run())
        if self.tracing is not None:
            background.spawn(self.tracing.run())
        if self.usage_events is not None:
            background.spawn(self.usage_events.run())
        await self._answers.open(stopping)
        self.phase = "active"
        log.info("active", extra={"cursors": dict(ingest.cursors)})

    async def _confirm(self) -> None:
        if self.ingest is not None:
            await self._write(self.ingest.confirm)

    async def _hold_lock(self) -> None:
        raise Superseded(f"{await self._leadership.hold()} has the lock")

    async def _say_farewell(self) -> None:
        await self._answers.close()
        try:
            async with asyncio.timeout(FAREWELL_S_MAX):
                await self.housekeeper.publish()
                await self._leadership.release()
        except TimeoutError:
            log.warning("the broker is too slow to hear the last cursors")

    def metrics(self) -> Iterator[Metric]:
        yield Metric(
            "penstock_metering_active",
            "gauge",
            "1 while this instance writes the ledger, 0 while it stands by.",
            int(self.phase == "active"),
        )
        if self.intake is not None and self.ingest is not None:
            yield from _ledger_metrics(self.intake, self.ingest, self.progress)
        yield Metric(
            "penstock_metering_unaccounted_ms",
            "gauge",
            "Difference between the ledger and the agents' newest counters, in GPU-ms.",
            self._deriver.unaccounted_ms,
        )
        yield Metric(
            "penstock_metering_audit_findings",
            "gauge",
            "Violations the last audit found.",
            self.auditor.last_findings,
        )
        if self.tracing is not None:
            yield from self.tracing.metrics()
        if self.usage_events is not None:
            yield from self.usage_events.metrics()


def _ledger_metrics(intake: Intake, ingest: Ingest, progress: Progress) -> Iterator[Metric]:
    for name, inflow in intake.inflows.items():
        lag = max(0, inflow.newest_seq - progress.committed.get(name, 0))
        yield Metric(
            "penstock_metering_lag_messages",
            "gauge",
            "Messages that arrived and are not committed, per stream.",
            lag,
            {"stream": name},
        )
    for name, description in _COUNTED.items():
        value = getattr(ingest.totals, name)
        yield Metric(f"penstock_metering_{name}", "counter", description, value)


_COUNTED = {
    "segments": "Usage segments taken into the ledger.",
    "repeated": "Usage segments that were known already.",
    "quarantined": "Messages and segments that were not believed.",
    "anomalies": "Things in the journals that must never happen.",
    "gaps": "Stretches of a stream that were gone before they were read.",
    "unreadable": "Messages that could not be decoded.",
    "commits": "Transactions.",
}


async def _pass_on(stop: StopSignal, ended: asyncio.Event) -> None:
    await stop.wait()
    ended.set()
