"""How may what a mesh said reach metering, at worst?

USAGE in any order, messages doubled, delayed, sent again, and contradicted later on; streams one
ahead of another; batches cut anywhere; the writer killed between any two statements; prices that
come while use is rated. It does not know what the ledger should hold.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from metering.conftest import Ledger
from metering.kills import Killed, kill_at
from metering.world import START_MS, World
from penstock_bus.port import StoredMessage
from penstock_contracts.prices import PriceVersion
from penstock_contracts.usage import UsageBatch
from penstock_metering.deriving import derive_all
from penstock_metering.devices import device_time
from penstock_metering.rating.price_book import add_versions, newest_version
from penstock_metering.rating.rater import rate_some

Streams = Mapping[str, Sequence[StoredMessage]]
KILLED_PERCENT = 30
STATEMENTS_MAX = 16
"""A transaction has about so many: kills come before any of them."""

_decode = msgspec.json.Decoder(UsageBatch).decode
_encode = msgspec.json.encode


def contradictions(world: World, chance: random.Random, count: int) -> list[StoredMessage]:
    """Messages that say something else about segments that USAGE has, in any order."""
    said = [(m, _decode(m.payload)) for m in world.streams["USAGE"]]
    told = [(m, batch) for m, batch in said if batch.segments]
    found = []
    for number in range(min(count, len(told))):
        message, batch = chance.choice(told)
        segment = chance.choice(batch.segments)
        other = msgspec.structs.replace(segment, t1_ms=segment.t1_ms + chance.randint(1, 60_000))
        forged = msgspec.structs.replace(
            batch, batch=1_000_000 + number, segments=(other,), counters=()
        )
        found.append(msgspec.structs.replace(message, payload=_encode(forged)))
    return found


def stirred(
    messages: Sequence[StoredMessage], later: Sequence[StoredMessage], chance: random.Random
) -> list[StoredMessage]:
    """All of them in any order, some several times; `later` behind all that they contradict."""
    order = [m for m in messages for _ in range(chance.choice([1, 1, 1, 2, 3]))]
    chance.shuffle(order)
    first = {id(m): place for place, m in reversed(list(enumerate(order)))}
    after = max(first.values(), default=0) + 1
    for message in later:
        for _ in range(chance.choice([1, 2])):
            order.insert(chance.randint(after, len(order)), message)
    return in_line(order)


def in_line(messages: Sequence[StoredMessage]) -> list[StoredMessage]:
    return [msgspec.structs.replace(m, seq=place) for place, m in enumerate(messages, 1)]


def some_prices(chance: random.Random, until_ms: int, first_version: int) -> list[PriceVersion]:
    """Prices that change while work runs, in different ways for different tenants."""
    return [
        PriceVersion(
            sku=chance.choice(["gpu", "gpu/H100"]),
            version=first_version + index,
            effective_from_ms=chance.randint(START_MS, until_ms),
            unit="gpu_hour",
            micro=chance.randint(0, 9_000_000),
            currency="USD",
            tenant=chance.choice(["", "", "default"]),
            granularity_ms=chance.choice([1, 1_000, 60_000]),
            minimum_ms=chance.choice([0, 0, 60_000]),
            billable=chance.choice([("running",), ("preparing", "running", "settling")]),
        )
        for index in range(chance.randint(0, 4))
    ]


class Delivery:
    """Brings streams to a ledger."""

    def __init__(self, ledger: Ledger, chance: random.Random) -> None:
        self._ledger = ledger
        self._chance = chance
        self.kills = 0

    def bring(self, streams: Streams, now_ms: int, prices: Sequence[PriceVersion] = ()) -> None:
        """Everything, at last; `prices` come at any moment, in their order."""
        waiting = list(prices)
        while any(self._cursor(name) < len(messages) for name, messages in streams.items()):
            self._at_risk(partial(self._ledger.take, self._some(streams)))
            if self._chance.random() < 0.3:
                rate = partial(rate_some, limit=self._chance.randint(1, 5))
                derive = self._chance.choice([rate, device_time.step])
                self._at_risk(partial(self._ledger.ingest.change, derive))
            if waiting and self._chance.random() < 0.3:
                self._add(waiting.pop(0))
        for price in waiting:
            self._add(price)
        self._ledger.ingest.change(partial(derive_all, now_ms=now_ms))

    def _add(self, price: PriceVersion) -> None:
        self._ledger.ingest.change(lambda connection: add_versions(connection, [price], 0))

    def _cursor(self, stream: str) -> int:
        return self._ledger.ingest.cursors[stream]

    def _some(self, streams: Streams) -> dict[str, Sequence[StoredMessage]]:
        """What comes next of one stream or several, and some that was read before."""
        names = self._chance.sample(sorted(streams), self._chance.choice([1, 1, 2, 3]))
        found = {}
        for name in names:
            cursor = self._cursor(name)
            first = max(0, cursor - self._chance.randint(0, 3))
            found[name] = streams[name][first : cursor + self._chance.randint(0, 12)]
        return found

    def _at_risk(self, work: Callable[[], object]) -> None:
        if self._chance.random() * 100 >= KILLED_PERCENT:
            work()
            return
        disarm = kill_at(self._ledger, self._chance.randint(1, STATEMENTS_MAX))
        try:
            work()
        except Killed:
            self.kills += 1
        else:
            disarm()
            return
        disarm()
        self._ledger.reopen()


def first_version(ledger: Ledger) -> int:
    with ledger.database.reading.begin() as connection:
        return newest_version(connection) + 1
