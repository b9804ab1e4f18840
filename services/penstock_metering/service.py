"""How does metering live?

Wiring: the database, the intake, the answers, the purge of what was consumed, optionally the
tracing follower. It does not decide anything.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator

from penstock_bus.nats import connect
from penstock_bus.port import Bus, BusRefusal, Outage
from penstock_contracts.streams import OWNERS, READERS
from penstock_metering.answers import Answers
from penstock_metering.audit import Auditor
from penstock_metering.config import Config
from penstock_metering.database import Database
from penstock_metering.ingest import Ingest
from penstock_metering.intake import Intake
from penstock_metering.progress import Progress
from penstock_metering.reading import Library
from penstock_metering.store import Store
from penstock_metering.threads import OneThread, Run
from penstock_metering.tracing import TracingFollower
from penstock_runtime.clock import Clock, SystemClock
from penstock_runtime.cursors import cursor_key, read_cursors
from penstock_runtime.health import Health
from penstock_runtime.logs import configure_logging
from penstock_runtime.metrics import Metric
from penstock_runtime.process import StopSignal, run_service

log = logging.getLogger(__name__)

PURGE_S = 30.0
ENV_OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Metering:
    """The service over an open database. `write` and `read` say where blocking work runs; `ingest`
    was made where `write` runs."""

    def __init__(
        self,
        bus: Bus,
        database: Database,
        ingest: Ingest,
        *,
        clock: Clock,
        write: Run,
        read: Run,
        otlp_endpoint: str | None = None,
    ) -> None:
        self._bus = bus
        self.ingest = ingest
        self.progress = Progress()
        self.intake = Intake(bus, ingest, self.progress, write)
        self.library = Library(database)
        self.auditor = Auditor(bus, self.library, self.progress, read, clock)
        self.answers = Answers(bus, self.library, self.auditor, read)
        self.tracing = TracingFollower(bus, otlp_endpoint) if otlp_endpoint else None

    def why_not_ready(self) -> str | None:
        if not self._bus.connected:
            return "not connected to NATS"
        return self.intake.why_not_ready()

    async def run(self) -> None:
        """Until cancelled."""
        await self.answers.open()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.intake.run())
                tasks.create_task(self._purge_for_ever())
                if self.tracing is not None:
                    tasks.create_task(self.tracing.run())
        finally:
            await self.answers.close()

    async def purge(self) -> None:
        """Discard what every reader of the streams metering owns has committed. Raises Outage."""
        published = await read_cursors(self._bus)
        for stream, owner in OWNERS.items():
            if owner == "metering":
                keys = [cursor_key(stream, reader) for reader in READERS[stream]]
                up_to = min(published.get(key, 0) for key in keys)
                if (await self._bus.stream_state(stream)).first_seq <= up_to:
                    await self._bus.purge(stream, up_to_seq=up_to)

    async def _purge_for_ever(self) -> None:
        while True:
            await asyncio.sleep(PURGE_S)
            try:
                await self.purge()
            except (Outage, BusRefusal) as error:
                log.warning("consumed messages stay for now: %s", error)

    def metrics(self) -> Iterator[Metric]:
        for name, inflow in self.intake.inflows.items():
            lag = max(0, inflow.newest_seq - self.progress.committed.get(name, 0))
            yield Metric(
                "penstock_metering_lag_messages",
                "gauge",
                "Messages that arrived and are not committed, per stream.",
                lag,
                {"stream": name},
            )
        totals = self.ingest.totals
        for name, description in _COUNTED.items():
            value = getattr(totals, name)
            yield Metric(f"penstock_metering_{name}", "counter", description, value)
        yield Metric(
            "penstock_metering_unaccounted_ms",
            "gauge",
            "Difference between ledger and agents' counters at the last audit, in GPU-ms.",
            self.auditor.last_unaccounted_ms,
        )
        yield Metric(
            "penstock_metering_audit_findings",
            "gauge",
            "Violations the last audit found.",
            self.auditor.last_findings,
        )
        if self.tracing is not None:
            yield from self.tracing.metrics()


_COUNTED = {
    "segments": "Usage segments taken into the ledger.",
    "repeated": "Usage segments that were known already.",
    "quarantined": "Messages and segments that were not believed.",
    "anomalies": "Things in the journals that must never happen.",
    "gaps": "Stretches of a stream that were gone before they were read.",
    "unreadable": "Messages that could not be decoded.",
    "commits": "Transactions.",
}


def serve(config: Config) -> int:
    """Metering's process."""
    configure_logging("metering", config.log_level)

    async def main(stop: StopSignal) -> int:
        write, read = OneThread("ledger-writer"), OneThread("ledger-reader")
        config.data_dir.mkdir(parents=True, exist_ok=True)
        database = await write(Database, config.database_url)
        bus = await connect(
            config.nats_url,
            name="penstock-metering",
            credentials=str(config.nats_creds) if config.nats_creds else None,
        )
        metering = Metering(
            bus,
            database,
            await write(lambda: Ingest(Store(database))),
            clock=SystemClock(),
            write=write,
            read=read,
            otlp_endpoint=config.otlp_endpoint or os.environ.get(ENV_OTLP) or None,
        )
        health = Health(why_not_ready=metering.why_not_ready)
        health.metrics.add(metering.metrics)
        await health.start(
            config.http_host, config.http_port, tls_cert=config.tls_cert, tls_key=config.tls_key
        )
        try:
            return await _run_until_stopped(metering, stop)
        finally:
            await health.stop()
            await bus.close()
            write.close()
            read.close()
            database.close()

    return run_service(main, "metering")


async def _run_until_stopped(metering: Metering, stop: StopSignal) -> int:
    """A crash inside ends the process; a stop request ends it cleanly."""
    running = asyncio.ensure_future(metering.run())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if running.done():
        await running
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return 0
