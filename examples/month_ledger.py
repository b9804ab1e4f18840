"""How does the demonstration month use metering's code?

The writer that stores batches, the derivation that rates them, the questions and the audit, without
the service and the bus around them. It does not know what is in the streams.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from month_play import Play

from penstock_bus.port import StoredMessage
from penstock_contracts.costs import CostVersion, SetCost
from penstock_contracts.errors import Refusal
from penstock_contracts.price_book import SetPrice
from penstock_contracts.profits import By, ProfitQuery, ProfitView
from penstock_metering.costs.book import set_cost
from penstock_metering.costs.profits import answer_profit
from penstock_metering.deriving import derive_all
from penstock_metering.ledger.database import Database
from penstock_metering.ledger.fence import Writer
from penstock_metering.ledger.ingest import open_ledger
from penstock_metering.rating.price_book import set_price
from penstock_metering.reading import Library

T = TypeVar("T")


class Unexpected(Exception):
    """Metering has refused what it should not."""


class MonthLedger:
    """A ledger of its own. `segments`: how many it holds."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self._ingest = open_ledger(self._database, Writer(name="month"))
        self._library = Library(self._database)

    @property
    def segments(self) -> int:
        return self._ingest.totals.segments

    def set_prices(self, wishes: Iterable[SetPrice], now_ms: int) -> None:
        for wish in wishes:
            _accepted(self._ingest.change(lambda c, wish=wish: set_price(c, wish, now_ms)))

    def set_costs(self, costs: Iterable[CostVersion], keys: Iterator[str], now_ms: int) -> None:
        for cost in costs:
            order = SetCost(next(keys), cost)
            _accepted(self._ingest.change(lambda c, order=order: set_cost(c, order, now_ms)))

    def take(self, streams: Mapping[str, Sequence[StoredMessage]], now_ms: int) -> None:
        """Store a batch, and derive what follows from it."""
        self._ingest.commit(streams)
        self._ingest.change(lambda connection: derive_all(connection, now_ms))

    def profit(self, by: By, month: str, now_ms: int) -> ProfitView:
        with self._database.reading.begin() as connection:
            view = answer_profit(connection, ProfitQuery(by=by, month=month), now_ms)
        return _accepted(view)

    def unaccounted_ms(self, play: Play) -> int:
        """The ledger against the hosts' own counters."""
        answered = frozenset(play.hosts)
        return self._library.balance(answered, play.seqs["JOBS"], play.now_ms).unaccounted_ms

    def close(self) -> None:
        self._database.close()


def _accepted(answer: T | Refusal) -> T:
    if isinstance(answer, Refusal):
        raise Unexpected(answer.message)
    return answer
