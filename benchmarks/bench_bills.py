"""How long do a bill and a profit and loss take for a month of 1,000 GPUs and 1,000,000 jobs?

The facts of such a month are put into a ledger; then everything that follows from them is derived
once, as metering does while they come in, and the questions are asked as the command line asks
them. On SQLite, or where `--database` says (an empty database). For the record:
`python benchmarks/bench_bills.py`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from measure.month import DAY_MS, DAYS, MONTH, START_MS, fill
from measure.report import emit, say

from penstock_contracts.bills import BillsQuery, ClosePeriod
from penstock_contracts.costs import CostVersion, SetCost, TariffBand
from penstock_contracts.profits import By, ProfitQuery
from penstock_contracts.queries import UsageQuery
from penstock_metering.bills.closing import close_period
from penstock_metering.bills.views import answer_bills
from penstock_metering.costs.book import set_cost
from penstock_metering.costs.profits import answer_profit
from penstock_metering.deriving import DERIVATIONS, Step
from penstock_metering.ledger.database import Database
from penstock_metering.ledger.fence import Writer
from penstock_metering.ledger.ingest import open_ledger
from penstock_metering.reading import Library

NOW_MS = START_MS + DAYS * DAY_MS
KEY = "01MCC5RM000000000000000001"
COSTS = (
    CostVersion(kind="purchase", effective_from_ms=0, micro=28_000_000_000, life_days=36_000),
    CostVersion(kind="hosting", per="node", effective_from_ms=0, micro=900_000_000),
    CostVersion(
        kind="energy",
        effective_from_ms=0,
        bands=(TariffBand(0, 50_000), TariffBand(360, 120_000)),
    ),
)
REPEATS = 3
WORTH_TELLING_S = 0.1
VIEWS: tuple[By, ...] = ("device", "node", "model", "tenant", "site", "job")


def timed(what: str, work: Callable[[], Any]) -> Any:
    """The shortest of some runs."""
    spent_s = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        answer = work()
        spent_s.append(time.perf_counter() - begin)
    emit(bench="bills", what=what, seconds=round(min(spent_s), 3), slowest=round(max(spent_s), 3))
    return answer


def set_costs(database: Database) -> None:
    ingest = open_ledger(database, Writer(name="bench"))
    for cost in COSTS:
        ingest.change(partial(_set_cost, SetCost(KEY, cost)))


def _set_cost(wish: SetCost, connection: sa.Connection) -> None:
    set_cost(connection, wish, 0)


def derive(database: Database, leases: int) -> None:
    ingest = open_ledger(database, Writer(name="bench"))
    for step in DERIVATIONS:
        begin = time.perf_counter()
        while ingest.change(partial(_run, step)):
            pass
        spent_s = time.perf_counter() - begin
        if spent_s > WORTH_TELLING_S:
            name = step.__module__.rpartition(".")[2]
            per_s = round(leases / spent_s)
            emit(bench="bills", derived=name, seconds=round(spent_s, 1), leases_per_s=per_s)


def _run(step: Step, connection: sa.Connection) -> bool:
    return step(connection, NOW_MS)


def ask(database: Database) -> None:
    def within(answer: Callable[..., Any], query: Any) -> Callable[[], Any]:
        def run() -> Any:
            with database.reading.begin() as connection:
                return answer(connection, query, NOW_MS)

        return run

    timed("bill", within(answer_bills, BillsQuery(month=MONTH)))
    for by in VIEWS:
        timed(f"pnl by {by}", within(answer_profit, ProfitQuery(by=by, month=MONTH)))
    library = Library(database)
    timed("usage", lambda: library.usage(UsageQuery()))
    part = UsageQuery(from_ms=NOW_MS - DAY_MS - 1, to_ms=NOW_MS - 1)
    timed("usage of the last 24 hours", lambda: library.usage(part))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=1_000)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--database", default="", help="URL of an empty database; else SQLite")
    parser.add_argument(
        "--keep", default="", help="the SQLite file to make, or to use again; not closed"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(asked.keep or Path(directory) / "ledger.sqlite")
        is_there = not asked.database and file.exists()
        database = Database(asked.database or f"sqlite:///{file}")
        emit(bench="bills", database=database.dialect, gpus=asked.gpus, jobs=asked.jobs)
        if not is_there:
            open_ledger(database, Writer(name="bench"))
            begin = time.perf_counter()
            leases = fill(database, asked.gpus, asked.jobs)
            say(f"{leases} leases written in {time.perf_counter() - begin:.1f} s")
            set_costs(database)
        derive(database, asked.jobs)
        ask(database)
        if not asked.keep:
            close(database)
        database.close()


def close(database: Database) -> None:
    """And make all invoices and postings."""
    ingest = open_ledger(database, Writer(name="bench"))
    wish = ClosePeriod(key=KEY, month=MONTH)
    begin = time.perf_counter()
    said = ingest.change(lambda connection: close_period(connection, wish, NOW_MS + 1))
    seconds = round(time.perf_counter() - begin, 3)
    emit(bench="bills", what="close the month", seconds=seconds, answer=type(said).__name__)


if __name__ == "__main__":
    main()
