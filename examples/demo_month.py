"""What did two hundred GPUs earn and cost in a month, and why were they idle?

A month in virtual time: five tenants' jobs, placed by the scheduler's own core on thirty hosts that
break, die and are drained; metered, rated, costed and audited by metering's own code in a ledger of
its own. Run by `make demo-month`; exit code 0 when nothing is unaccounted for.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from month_fleet import PRICES, costs, prices
from month_ledger import MonthLedger
from month_play import DAY_MS, Play
from month_work import draw_work

from penstock_client.amounts import format_cents
from penstock_client.commands.pnl import show_profit
from penstock_client.profit_chart import draw
from penstock_contracts.ids import ulid
from penstock_contracts.profits import ProfitView

START = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 31
SEED = 20_261_001
PICTURE = "build/month.png"


def main() -> int:
    options = _options()
    began = time.monotonic()
    start_ms = int(START.timestamp() * 1_000)
    play = Play(draw_work(SEED, start_ms, options.days), start_ms, options.days)
    with tempfile.TemporaryDirectory(prefix="penstock-month-") as home:
        ledger = MonthLedger(options.database or f"sqlite:///{Path(home) / 'ledger.sqlite'}")
        try:
            keys = _keys(start_ms)
            ledger.set_prices(prices(start_ms, keys), start_ms)
            ledger.set_costs(costs(start_ms), keys, start_ms)
            tell(f"{options.days} days from {START:%Y-%m-%d} on, {len(play.jobs)} jobs")
            for day in range(options.days):
                play.run_until(start_ms + (day + 1) * DAY_MS)
                ledger.take(play.take(), play.now_ms)
            return report(ledger, play, options.picture, began)
        finally:
            ledger.close()


def report(ledger: MonthLedger, play: Play, picture: str, began: float) -> int:
    """What there is to tell; the exit code."""
    month = f"{START:%Y-%m}"
    seen = {by: ledger.profit(by, month, play.now_ms) for by in ("model", "tenant", "device")}
    heading("Profit and loss by model")
    show_profit(seen["model"])
    heading("By tenant")
    show_profit(seen["tenant"], details=False)
    heading("What a GPU-hour must bring")
    for line in seen["model"].models:
        if line.key in PRICES:
            asked, needed = PRICES[line.key] * 10_000, line.break_even_micro
            tell(f"{line.key}: {format_cents(needed)} to break even, list price "
                 f"{format_cents(asked)} {line.currency}")  # fmt: skip
    heading("The audit")
    unaccounted_ms = ledger.unaccounted_ms(play)
    tell(
        f"{ledger.segments:,} segments of {len(play.jobs):,} jobs; unaccounted_ms {unaccounted_ms}"
    )
    if picture:
        Path(picture).parent.mkdir(parents=True, exist_ok=True)
        draw(seen["model"], picture)
        tell(f"drawn: {picture}")
    tell(f"Done in {time.monotonic() - began:.0f} s.")
    return 0 if unaccounted_ms == 0 and sums_agree(seen) else 1


def sums_agree(seen: dict[str, ProfitView]) -> bool:
    """Every view has the same profit."""
    return len({tuple(line.profit_micro for line in view.totals) for view in seen.values()}) == 1


def heading(text: str) -> None:
    tell(f"\n{text}\n{'-' * len(text)}")


def tell(text: str) -> None:
    print(text, flush=True)


def _keys(start_ms: int) -> Iterator[str]:
    """Of commands."""
    number = 0
    while True:
        number += 1
        yield ulid(start_ms, number)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=DAYS, choices=range(1, DAYS + 1))
    parser.add_argument("--picture", default=PICTURE, help="where the chart goes; empty: none")
    parser.add_argument("--database", default="", help="a PostgreSQL URL instead of a file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
