"""Is everything billed once, and at the same amount, whenever months are closed and use arrives?

Random use by several tenants over three months, at prices that change meanwhile; hosts send what
they owe late or at once, and each month is closed while some of it is still missing.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import sqlalchemy as sa

from metering.closed_months import bills, facts, imbalances
from metering.conftest import Ledger, LedgerFactory
from metering.world import Job, World
from penstock_contracts.bills import ClosePeriod, PeriodClosed
from penstock_contracts.errors import Refusal
from penstock_contracts.ids import ulid
from penstock_contracts.price_book import SetPrice
from penstock_metering.bills.closing import close_period
from penstock_metering.core.months import month_bounds_ms, month_of, next_month
from penstock_metering.rating import rater
from penstock_metering.rating.price_book import set_price

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
STEPS = 40
MONTHS = ("2027-01", "2027-02", "2027-03", "2027-04", "2027-05")
"""Use is in the first four; what is known by the end only is billed in the last."""
SEEDS = range(5)


class Play:
    """A world that goes on by a day or so. `prices`: what was set, and when."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(f"closings {seed}")
        self.world = World()
        self.running: list[tuple[Job, int]] = []
        self.prices: list[tuple[int, SetPrice]] = []
        for node in ("n1", "n2", "n3"):
            self.world.a_node(node, gpus=2)
        self.free = [
            (node, f"SIM-{node}-{index}") for node in self.world.agents for index in (0, 1)
        ]

    def step(self) -> None:
        for _ in range(self.random.randrange(1, 5)):
            self.world.pass_ms(self.random.randrange(1, DAY_MS))
            self.random.choice((self._begin, self._begin, self._cut, self._end, self._price))()
            if self.random.random() < 0.2:
                self.random.choice(list(self.world.agents.values())).send()

    def end(self) -> None:
        while self.running:
            self.world.pass_ms(self.random.randrange(1, HOUR_MS))
            self._end()
        for agent in self.world.agents.values():
            agent.send()

    def _begin(self) -> None:
        if not self.free:
            return
        node, device = self.free.pop(self.random.randrange(len(self.free)))
        job = self.world.submit(
            tenant=self.random.choice(("acme", "bolt")), project=self.random.choice(("", "red"))
        )
        self.world.grant(job, (node, (device,)))
        self.world.pass_ms(self.random.randrange(1, 5_000))
        self.world.start(job)
        self.running.append((job, self.world.now_ms))

    def _cut(self) -> None:
        if self.running:
            self.world.cut(self.random.choice(self.running)[0])

    def _end(self) -> None:
        if self.running:
            job, _ = self.running.pop(self.random.randrange(len(self.running)))
            self.world.exit(job)
            self.world.pass_ms(self.random.randrange(1, 5_000))
            self.world.release(job)
            self.world.finish(job)
            self.free += [(place.node, place.devices[0]) for place in job.placement]

    def _price(self) -> None:
        if self.random.random() < 0.3:
            wish = SetPrice(
                key=ulid(self.world.now_ms, 1),
                sku=self.random.choice(("gpu", "gpu/H100")),
                tenant=self.random.choice(("", "", "bolt")),
                micro=self.random.randrange(1, 5_000_000),
                granularity_ms=self.random.choice((1, 1_000, 60_000)),
                minimum_ms=self.random.choice((0, 600_000)),
                billable=self.random.choice((("running",), ("preparing", "running", "settling"))),
                free_quantity=self.random.choice((0, 30 * HOUR_MS * 1_000)),
            )
            self.prices.append((self.world.now_ms, wish))


def set_prices(ledger: Ledger, prices: list[tuple[int, SetPrice]]) -> None:
    for now_ms, wish in prices:
        answer = ledger.ingest.change(lambda c, w=wish, t=now_ms: set_price(c, w, t))
        assert not isinstance(answer, Refusal), answer


def close(ledger: Ledger, month: str) -> None:
    wish = ClosePeriod(key="K", month=month)
    now_ms = month_bounds_ms(month)[1] + DAY_MS
    closed = ledger.ingest.change(lambda connection: close_period(connection, wish, now_ms))
    assert isinstance(closed, PeriodClosed), closed


def billed(ledger: Ledger) -> dict[Any, tuple[int, ...]]:
    """By tenant, SKU, price version and the month of use, over all that was issued."""
    sums: dict[Any, tuple[int, ...]] = {}
    for month in MONTHS:
        for bill in bills(ledger, month).bills:
            for line in bill.lines:
                if line.kind == "usage":
                    used = line.corrects or month
                    key = (bill.tenant, line.sku, line.price_version, used)
                    own = (line.billed_quantity, line.free_quantity, line.amount_micro)
                    known = sums.get(key, (0, 0, 0))
                    sums[key] = tuple(a + b for a, b in zip(known, own, strict=True))
    return {key: own for key, own in sums.items() if any(own)}


@pytest.mark.parametrize("seed", SEEDS)
def test_everything_is_billed_once_whenever_it_arrives(
    make_ledger: LedgerFactory, seed: int
) -> None:
    play, as_it_came, at_once = Play(seed), make_ledger(), make_ledger()
    due, priced = month_of(play.world.now_ms), 0
    kept: dict[str, Any] = {}
    for _ in range(STEPS):
        play.step()
        set_prices(as_it_came, play.prices[priced:])
        priced = len(play.prices)
        as_it_came.take_all(play.world)
        if play.world.now_ms > month_bounds_ms(due)[1] + DAY_MS:
            close(as_it_came, due)
            due = next_month(due)
            assert all(set(rows) <= set(facts(as_it_came)[name]) for name, rows in kept.items())
            kept = facts(as_it_came)
    play.end()
    as_it_came.take_all(play.world)
    set_prices(at_once, play.prices)
    at_once.take_all(play.world)
    for ledger, begin in ((as_it_came, due), (at_once, MONTHS[0])):
        for month in MONTHS[MONTHS.index(begin) :]:
            close(ledger, month)
    assert billed(as_it_came) == billed(at_once) != {}
    assert imbalances(as_it_came) == imbalances(at_once) == []
    before = as_it_came.contents()
    as_it_came.ingest.change(_rebuild)
    assert as_it_came.contents() == before


def _rebuild(connection: sa.Connection) -> None:
    rater.forget_open(connection)
    rater.rate_all(connection)
