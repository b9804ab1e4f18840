"""What is metering's process made of?

The machine's clock, threads for blocking work, a connection to the broker and the health port,
around the service. It does not know how the service works.
"""

from __future__ import annotations

import os
import uuid

from penstock_bus.nats import connect
from penstock_metering.config import Config
from penstock_metering.ledger.database import Database
from penstock_metering.ledger.predecessor import end_predecessor
from penstock_metering.service import Metering
from penstock_metering.threads import OneThread
from penstock_runtime.clock import SystemClock
from penstock_runtime.health import Health
from penstock_runtime.logs import configure_logging
from penstock_runtime.process import StopSignal, run_service

ENV_OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT"


def serve(config: Config) -> int:
    """Metering's process."""
    configure_logging("metering", config.log_level)

    async def main(stop: StopSignal) -> int:
        write, read = OneThread("ledger-writer"), OneThread("ledger-reader")
        read_long = OneThread("ledger-exporter")
        config.data_dir.mkdir(parents=True, exist_ok=True)
        database = Database(config.database_url)
        bus = await connect(
            config.nats_url,
            name="penstock-metering",
            credentials=str(config.nats_creds) if config.nats_creds else None,
        )
        metering = Metering(
            bus,
            database,
            clock=SystemClock(),
            new_id=lambda: uuid.uuid4().hex,
            write=write,
            read=read,
            end_predecessor=end_predecessor,
            raw_kept_days=config.raw_kept_days,
            otlp_endpoint=config.otlp_endpoint or os.environ.get(ENV_OTLP) or None,
            usage_events=config.usage_events,
            read_long=read_long,
        )
        health = Health(why_not_ready=metering.why_not_ready)
        health.metrics.add(metering.metrics)
        await health.start(
            config.http_host, config.http_port, tls_cert=config.tls_cert, tls_key=config.tls_key
        )
        try:
            return await metering.run(stop)
        finally:
            await health.stop()
            await bus.close()
            write.close()
            read.close()
            read_long.close()
            database.close()

    return run_service(main, "metering")
