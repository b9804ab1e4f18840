"""Is what the ledger is told done once, wholly or not at all, by whoever may write?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from metering.conftest import Ledger
from metering.world import START_MS
from penstock_contracts.errors import Refusal
from penstock_contracts.price_book import PricesQuery, PricesView, SetPrice
from penstock_metering import commands as commands_module
from penstock_metering.commands import KEPT_MS, Command, Commands
from penstock_metering.ledger import schema
from penstock_metering.ledger.fence import Writer
from penstock_metering.ledger.ingest import DatabaseBusy, open_ledger
from penstock_metering.money_commands import COMMANDS
from penstock_metering.rating import tables
from penstock_metering.rating.price_book import answer_prices
from penstock_metering.threads import run_inline
from penstock_runtime.clock import VirtualClock

KEY, OTHER_KEY = "01MCC5RM000000000000000001", "01MCC5RM000000000000000002"
NS_PER_MS = 1_000_000


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START_MS * NS_PER_MS)


@pytest.fixture
def commands(ledger: Ledger, clock: VirtualClock) -> Commands:
    made = Commands(run_inline, clock, COMMANDS)
    made.ingest = ledger.ingest
    return made


def a_wish(key: str = KEY, **fields: Any) -> SetPrice:
    return SetPrice(key=key, **{"sku": "gpu/H100", "micro": 3_000_000, **fields})


def prices(ledger: Ledger) -> list[Any]:
    with ledger.database.reading.begin() as connection:
        return list(connection.execute(sa.select(tables.price_versions)))


def said(answer: Any) -> PricesView:
    """As it arrives."""
    assert not isinstance(answer, Refusal), answer
    return msgspec.json.decode(msgspec.json.encode(answer), type=PricesView)


async def test_a_command_that_is_repeated_is_answered_the_same_and_done_once(
    ledger: Ledger, commands: Commands, clock: VirtualClock
) -> None:
    first = said(await commands.obey("set_price", a_wish()))
    clock.advance(60_000 * NS_PER_MS)
    ledger.reopen()
    commands.ingest = ledger.ingest
    assert said(await commands.obey("set_price", a_wish())) == first
    assert len(prices(ledger)) == 3


async def test_a_key_is_for_one_command(ledger: Ledger, commands: Commands) -> None:
    await commands.obey("set_price", a_wish())
    refusal = await commands.obey("set_price", a_wish(micro=1))
    assert isinstance(refusal, Refusal)
    assert refusal.code == "key_used"
    assert len(prices(ledger)) == 3
    refusal = await commands.obey("set_price", a_wish("1"))
    assert isinstance(refusal, Refusal)
    assert refusal.field == "key"


async def test_what_is_refused_leaves_nothing_and_may_be_asked_again(
    ledger: Ledger, clock: VirtualClock
) -> None:
    """Also what a command had written before it found that it cannot be."""
    refusals = [Refusal("contradiction", "not now")]

    def write_then_refuse(connection: sa.Connection, wish: SetPrice, now_ms: int) -> Any:
        answer = COMMANDS["set_price"].apply(connection, wish, now_ms)
        return refusals.pop() if refusals else answer

    commands = Commands(run_inline, clock, {"x": Command(SetPrice, write_then_refuse)})
    commands.ingest = ledger.ingest
    before = ledger.contents()
    assert isinstance(await commands.obey("x", a_wish()), Refusal)
    assert ledger.contents() == before
    said(await commands.obey("x", a_wish()))
    assert len(prices(ledger)) == 3


async def test_a_superseded_writer_does_nothing(ledger: Ledger, commands: Commands) -> None:
    open_ledger(ledger.database, Writer(name="successor"))
    refusal = await commands.obey("set_price", a_wish())
    assert isinstance(refusal, Refusal)
    assert refusal.code == "unavailable"
    assert len(prices(ledger)) == 2


async def test_whoever_does_not_lead_says_so(clock: VirtualClock) -> None:
    refusal = await Commands(run_inline, clock, COMMANDS).obey("set_price", a_wish())
    assert isinstance(refusal, Refusal)
    assert refusal.code == "unavailable"


async def test_a_busy_database_is_tried_again(
    ledger: Ledger, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands_module, "BUSY_RETRY_S", 0.001)
    tries = []

    def busy_at_first(connection: sa.Connection, wish: SetPrice, now_ms: int) -> Any:
        tries.append(wish)
        if len(tries) < 3:
            raise DatabaseBusy("locked")
        return COMMANDS["set_price"].apply(connection, wish, now_ms)

    commands = Commands(run_inline, clock, {"x": Command(SetPrice, busy_at_first)})
    commands.ingest = ledger.ingest
    said(await commands.obey("x", a_wish()))
    assert len(tries) == 3


async def test_keys_are_forgotten_after_months(
    ledger: Ledger, commands: Commands, clock: VirtualClock
) -> None:
    await commands.obey("set_price", a_wish())
    clock.advance((KEPT_MS + 1) * NS_PER_MS)
    await commands.obey("set_price", a_wish(OTHER_KEY))
    with ledger.database.reading.begin() as connection:
        kept = connection.execute(sa.select(schema.commands_done.c.key)).scalars().all()
    assert kept == [OTHER_KEY]


async def test_the_book_is_told_as_it_holds_and_as_it_was(
    ledger: Ledger, commands: Commands, clock: VirtualClock
) -> None:
    later_ms = START_MS + 3_600_000
    await commands.obey("set_price", a_wish())
    clock.advance(1_000 * NS_PER_MS)
    await commands.obey("set_price", a_wish(OTHER_KEY, micro=4_000_000))
    await commands.obey(
        "set_price", a_wish("01MCC5RM000000000000000003", micro=5, effective_from_ms=later_ms)
    )
    now_ms = clock.now_ns() // NS_PER_MS

    def numbers(**query: Any) -> list[int]:
        with ledger.database.reading.begin() as connection:
            view = answer_prices(connection, PricesQuery(**query), now_ms)
        return [version.version for version in view.versions]

    assert numbers() == [1, 2, 4, 5]
    assert numbers(at_ms=later_ms) == [1, 2, 5]
    assert numbers(history=True, sku="gpu/H100") == [3, 4, 5]
    assert numbers(history=True, after=4) == [5]
    assert numbers(tenant="lab") == []
