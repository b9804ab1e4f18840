"""Does a ledger of an earlier version keep what it held, and is its use rated by its own prices?"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from metering.conftest import Ledger
from metering.world import START_MS
from penstock_contracts.queries import UsageQuery
from penstock_metering.ledger.database import Database
from penstock_metering.rating.rater import rate_all

JOB = "01MCC5RM000000000000000001"
HOUR_MS = 3_600_000
LEASE = f"7, '{JOB}', 0, 'lab', 1, 'n1', '[\"GPU-1\"]', 1000, 100, {START_MS}, {START_MS}"
ENDED = f"{START_MS + HOUR_MS}, 0, NULL, 'exited', 1, {START_MS + HOUR_MS}, 9, 'release_check'"
ROWS = (
    "INSERT INTO prices VALUES ('gpu', 1, 0, 2000000, 'EUR')",
    f"INSERT INTO prices VALUES ('gpu', 2, {START_MS + HOUR_MS // 2}, 4000000, 'EUR')",
    "INSERT INTO prices VALUES ('cpu', 1, 0, 40000, 'EUR')",
    f"INSERT INTO leases VALUES ({LEASE}, {ENDED}, NULL)",
    "INSERT INTO usage_batches VALUES (1, 'n1', 'boot', 1, 1)",
    f"INSERT INTO raw_segments VALUES (7, '{JOB}', 0, 0, 1, '{{}}')",
    "INSERT INTO ledger_lines VALUES "
    f"(7, '{JOB}', 0, 0, 'GPU-1', 1000, {START_MS}, {START_MS + HOUR_MS}, 1)",
    "INSERT INTO device_models VALUES ('n1', 'GPU-1', 'H100')",
)


def test_use_and_prices_of_an_earlier_ledger_are_rated_as_they_were(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    config = Config()
    config.set_main_option("script_location", "penstock_metering:migrations")
    with database.writing.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        for row in ROWS:
            connection.execute(sa.text(row.replace(":", r"\:")))
    database.close()
    ledger = Ledger(tmp_path)
    ledger.ingest.change(rate_all)
    assert ledger.contents()["raw_segments"] == [(7, JOB, 0, 0, 1, "{}")]
    lines = ledger.library.usage(UsageQuery()).lines
    assert [(line.sku, line.quantity, line.cost_micro, line.currency) for line in lines] == [
        ("gpu/H100", 500 * HOUR_MS, 1_000_000, "EUR"),
        ("gpu/H100", 500 * HOUR_MS, 2_000_000, "EUR"),
    ]
    ledger.database.close()
