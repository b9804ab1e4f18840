"""Does the scheduler hear of budgets, each thing once and in order, whatever fails in between?"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from metering import mesh as mesh_module
from metering.conftest import Ledger, LedgerFactory
from metering.mesh import Mesh, running
from metering.money import GPU_HOUR
from metering.world import START_MS, World
from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.port import Bus, Outage
from penstock_contracts.budgets import (
    AddCredit,
    BudgetFact,
    BudgetsQuery,
    BudgetState,
    BudgetsView,
    CreditsView,
    Rates,
    SetBudget,
)
from penstock_contracts.errors import Refusal
from penstock_contracts.ids import ulid
from penstock_metering.budgets import keeper as budget_keeper

_decode = msgspec.json.Decoder(BudgetFact).decode


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    made = await memory.connect(MemoryBroker(time.time_ns), name="metering")
    await mesh_module.prepare(made)
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_keeper, "SETTLE_S", 0.01)


@pytest.fixture
def ledger(make_on_sqlite: LedgerFactory) -> Ledger:
    return make_on_sqlite()


async def heard(bus: Bus) -> list[BudgetFact]:
    """All that the scheduler could read, in order."""
    state = await bus.stream_state("BUDGETS")
    found = [await bus.read("BUDGETS", seq) for seq in range(1, state.last_seq + 1)]
    facts = [_decode(message.payload) for message in found if message is not None]
    numbers = [fact.number for fact in facts]
    assert numbers == sorted(set(numbers))
    return facts


def a_budget(key: int = 1, limit: int | None = 10 * GPU_HOUR) -> SetBudget:
    return SetBudget(
        key=ulid(START_MS, key), budget_id="b", tenant="acme", unit="gpu_milli_ms", currency="",
        acts="stop", limit=limit,
    )  # fmt: skip


async def test_a_budget_is_told_as_soon_as_it_is_set(
    bus: Bus, ledger: Ledger, eventually: Any
) -> None:
    async with running(Mesh(bus, World(), ledger)) as mesh:
        assert await heard(bus) == []
        view = await mesh.order("set_budget", a_budget(), BudgetsView)
        assert isinstance(view, BudgetsView), view
        await eventually(lambda: told(bus, 2))
        rates, state = await heard(bus)
        assert isinstance(rates, Rates)
        assert isinstance(state, BudgetState)
        assert (state.tenant, state.limit, state.spent) == ("acme", 10 * GPU_HOUR, 0)
        again = await mesh.order("set_budget", a_budget(), BudgetsView)
        assert again == view
        await mesh.order("set_budget", a_budget(2, GPU_HOUR), BudgetsView)
        await eventually(lambda: told(bus, 3))
        view = await mesh.ask("budgets", BudgetsQuery(), BudgetsView)
        assert isinstance(view, BudgetsView)
        assert [one.limit for one in view.budgets] == [GPU_HOUR]


async def told(bus: Bus, count: int) -> bool:
    return len(await heard(bus)) == count


async def test_whoever_takes_the_ledger_says_everything_again(
    bus: Bus, ledger: Ledger, eventually: Any
) -> None:
    async with running(Mesh(bus, World(), ledger)) as mesh:
        await mesh.order("set_budget", a_budget(), BudgetsView)
        await eventually(lambda: told(bus, 2))
    async with running(Mesh(bus, World(), ledger)):
        await eventually(lambda: told(bus, 4))
    *_, last = await heard(bus)
    assert isinstance(last, BudgetState)
    assert last.full


async def test_an_older_copy_of_the_ledger_gives_no_number_again(
    bus: Bus, make_on_sqlite: LedgerFactory, eventually: Any
) -> None:
    async with running(Mesh(bus, World(), make_on_sqlite())) as mesh:
        for key, limit in enumerate(range(5), 1):
            await mesh.order("set_budget", a_budget(key, limit), BudgetsView)
            await eventually(lambda key=key: told(bus, 1 + key))
    world = World()
    world.now_ms = 1  # its clock says nothing
    async with running(Mesh(bus, world, make_on_sqlite())) as mesh:
        await mesh.order("set_budget", a_budget(6, 77), BudgetsView)
        await eventually(lambda: says(bus, 77))


async def test_a_new_ledger_begins_with_numbers_that_none_before_it_has_given(
    bus: Bus, make_on_sqlite: LedgerFactory, eventually: Any
) -> None:
    async with running(Mesh(bus, World(), make_on_sqlite())) as mesh:
        await mesh.order("set_budget", a_budget(), BudgetsView)
        await eventually(lambda: told(bus, 2))
    before = (await heard(bus))[-1].number
    await bus.purge("BUDGETS")
    later = World()
    later.pass_ms(60_000)
    async with running(Mesh(bus, later, make_on_sqlite())) as mesh:
        await mesh.order("set_budget", a_budget(2, 77), BudgetsView)
        await eventually(lambda: says(bus, 77))
    assert (await heard(bus))[0].number > before


async def says(bus: Bus, limit: int) -> bool:
    last = ([None, *await heard(bus)])[-1]
    return isinstance(last, BudgetState) and last.limit == limit


async def test_what_the_broker_did_not_take_is_sent_again_in_its_order(
    bus: Bus, ledger: Ledger, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, refused = bus.append, []

    async def unsure(subject: str, payload: bytes, **fields: Any) -> Any:
        """Stores the first of budgets and does not say so, then is away for one more."""
        if ".budget." in subject and len(refused) < 2:
            refused.append(subject)
            if len(refused) == 1:
                await append(subject, payload, **fields)
            raise Outage("the broker does not answer")
        return await append(subject, payload, **fields)

    monkeypatch.setattr(bus, "append", unsure)
    async with running(Mesh(bus, World(), ledger)) as mesh:
        await mesh.order("set_budget", a_budget(), BudgetsView)
        await eventually(lambda: told(bus, 2))
    assert len(refused) == 2


async def test_credit_that_is_not_there_is_refused_and_nothing_is_said(
    bus: Bus, ledger: Ledger
) -> None:
    wish = AddCredit(key=ulid(START_MS, 1), tenant="acme", amount_micro=-5)
    async with running(Mesh(bus, World(), ledger)) as mesh:
        refused = await mesh.order("add_credit", wish, CreditsView)
        assert isinstance(refused, Refusal)
        assert refused.code == "no_credit"
    assert await heard(bus) == []
