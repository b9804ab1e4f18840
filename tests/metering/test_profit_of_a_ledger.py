"""Does profit and loss hold what the ledger holds, from segments to a line?"""

from __future__ import annotations

import msgspec
import pytest

from metering.conftest import Ledger
from metering.world import START_MS, World
from penstock_contracts.bills import ClosePeriod
from penstock_contracts.costs import CostsQuery, CostsView, CostVersion, SetCost
from penstock_contracts.errors import Refusal
from penstock_contracts.ids import ulid
from penstock_contracts.profits import NOT_SOLD, By, ProfitQuery, ProfitView
from penstock_metering.bills.closing import close_period
from penstock_metering.bills.contents import read_lines
from penstock_metering.core.months import MS_PER_DAY, month_of
from penstock_metering.costs.book import answer_costs, read_costs, set_cost
from penstock_metering.costs.profits import answer_profit, day_costs, period_costs, read_books
from penstock_metering.deriving import derive_all

MONTH = month_of(START_MS)
HOUR_MS = 3_600_000
USD = 1_000_000


def a_cost(kind: str, **fields: object) -> CostVersion:
    since = START_MS - START_MS % MS_PER_DAY
    return msgspec.convert({"kind": kind, "effective_from_ms": since, **fields}, CostVersion)


def tell(ledger: Ledger, *costs: CostVersion) -> list[CostsView | Refusal]:
    orders = [SetCost(ulid(START_MS, at), cost) for at, cost in enumerate(costs)]
    return [
        ledger.ingest.change(lambda connection, order=order: set_cost(connection, order, START_MS))
        for order in orders
    ]


def ask(
    ledger: Ledger, world: World, by: By = "device", limit: int = 100, month: str = ""
) -> ProfitView:
    ledger.ingest.change(lambda connection: derive_all(connection, world.now_ms))
    with ledger.database.reading.begin() as connection:
        view = answer_profit(connection, ProfitQuery(by=by, limit=limit, month=month), world.now_ms)
    assert isinstance(view, ProfitView)
    return view


def play(ledger: Ledger, world: World) -> None:
    """Two devices for four hours: one sold for an hour and for two, one broken for a half."""
    agent = world.a_node(gpus=2)
    first, second = agent.devices
    world.a_run("n1", (first,), HOUR_MS, tenant="astro")
    world.a_run("n1", (first,), 2 * HOUR_MS, tenant="bio")
    world.journal("NODES", agent.describe(unhealthy=(second,)))
    world.pass_ms(START_MS + 4 * HOUR_MS - world.now_ms)
    agent.send()
    ledger.take_all(world)


def test_revenue_is_what_the_lines_ask_for_and_every_view_of_it_agrees(
    ledger: Ledger, world: World
) -> None:
    play(ledger, world)
    tell(ledger, a_cost("rent", micro=USD, every="hour"))
    views = {by: ask(ledger, world, by) for by in ("device", "model", "tenant", "job")}
    with ledger.database.reading.begin() as connection:
        billed = sum(line.amount_micro for line in read_lines(connection, MONTH))
    for view in views.values():
        [total] = view.totals
        assert (total.revenue_micro, total.rent_micro) == (billed, 8 * USD)
        assert sum(line.profit_micro for line in view.lines) == total.profit_micro
    tenants = {line.key: line.revenue_micro for line in views["tenant"].lines}
    assert tenants == {"astro": 2 * USD, "bio": 4 * USD, NOT_SOLD: 0}
    assert len(views["job"].lines) == 3


def test_of_many_jobs_the_worst_are_told_and_the_others_are_the_rest(
    ledger: Ledger, world: World
) -> None:
    agent = world.a_node(gpus=1)
    [device] = agent.devices
    for minutes in (7, 50, 31, 12):
        world.a_run("n1", (device,), minutes * 60_000, tenant="astro")
    agent.send()
    ledger.take_all(world)
    tell(
        ledger,
        a_cost("rent", micro=3 * USD, every="hour"),
        a_cost("payout", micro=100_001, share_ppm=333_333, owner="Ada"),
    )
    view = ask(ledger, world, "job", limit=2)
    told = {line.key: line for line in view.lines}
    ran = sorted(line.sold_milli_ms // 60_000_000 for line in told.values())
    assert ran == [0, 31, 50]
    assert [line.sold_milli_ms for line in view.others] == [19 * 60_000_000]
    [total] = view.totals
    for name in ("revenue_micro", "payout_micro", "rent_micro", "profit_micro", "sold_milli_ms"):
        parts = [getattr(line, name) for line in (*view.lines, *view.others)]
        assert sum(parts) == getattr(total, name), name
    [total_by_tenant] = ask(ledger, world, "tenant").totals
    assert total_by_tenant.profit_micro == total.profit_micro


def test_idle_time_has_reasons_and_its_cost_is_what_the_devices_bore(
    ledger: Ledger, world: World
) -> None:
    play(ledger, world)
    tell(ledger, a_cost("rent", micro=USD, every="hour"))
    view = ask(ledger, world)
    idle = {one.reason: one.milli_ms for one in view.idle}
    assert sum(idle.values()) == 1_000 * (8 - 3) * HOUR_MS
    assert idle["broken"] > 900 * HOUR_MS - 100_000
    assert sum(one.cost_micro for one in view.idle) == view.totals[0].idle_micro
    assert view.worst[0].key == "n1/SIM-n1-1"


def test_what_closing_posts_and_what_days_cost_sum_to_the_month(
    ledger: Ledger, world: World
) -> None:
    play(ledger, world)
    tell(
        ledger,
        a_cost("purchase", micro=10_000 * USD, life_days=1_000),
        a_cost("payout", share_ppm=500_000, owner="Ada"),
    )
    [total] = ask(ledger, world).totals
    with ledger.database.reading.begin() as connection:
        posted = period_costs(connection, MONTH, world.now_ms)
        by_day = list(day_costs(read_books(connection, MONTH, world.now_ms)))
    assert sum(one.micro for one in posted) == total.cost_micro
    assert [(one.owner, one.micro) for one in posted if one.kind == "payout"] == [("Ada", 3 * USD)]
    assert sum(sum(one.micro.values()) for one in by_day) == total.depreciation_micro
    assert sum(sum(one.idle.values()) for one in by_day) == total.idle_micro


def test_use_that_comes_after_its_month_was_closed_is_earned_in_the_next(
    ledger: Ledger, world: World
) -> None:
    agent = world.a_node(gpus=1)
    [device] = agent.devices
    world.a_run("n1", (device,), HOUR_MS, tenant="astro")
    agent.send()
    world.a_run("n1", (device,), 2 * HOUR_MS + 7, tenant="astro")
    late, agent.owed = agent.owed, []
    world.pass_ms(40 * MS_PER_DAY)
    ledger.take_all(world)
    ask(ledger, world)
    closing = ClosePeriod(key=ulid(START_MS, 77), month=MONTH)
    closed = ledger.ingest.change(lambda c: close_period(c, closing, world.now_ms))
    assert not isinstance(closed, Refusal)
    agent.owed = late
    agent.send()
    ledger.take_all(world)
    tell(ledger, a_cost("payout", share_ppm=100_000, owner="Ada"))
    [now] = ask(ledger, world).totals
    [before] = ask(ledger, world, month=MONTH).totals
    with ledger.database.reading.begin() as connection:
        billed = sum(line.amount_micro for line in read_lines(connection, month_of(world.now_ms)))
    assert now.revenue_micro == billed and now.revenue_micro > 4 * USD - 10_000
    assert now.payout_micro == round(billed / 10)
    assert before.revenue_micro == 2 * USD
    tenants = {line.key: line.revenue_micro for line in ask(ledger, world, "tenant").lines}
    assert tenants == {"astro": billed, NOT_SOLD: 0}


def test_costs_are_numbered_kept_and_listed_page_by_page(ledger: Ledger) -> None:
    made = tell(ledger, a_cost("rent", micro=1), a_cost("hosting", micro=2))
    assert [one.costs[0].number for one in made if isinstance(one, CostsView)] == [1, 2]
    with ledger.database.reading.begin() as connection:
        assert [cost.micro for cost in read_costs(connection)] == [1, 2]
        page = answer_costs(connection, CostsQuery(kind="hosting", after=1), START_MS)
    assert ([cost.number for cost in page.costs], page.more) == ([2], False)


def test_a_cost_that_means_nothing_is_refused_and_not_kept(ledger: Ledger) -> None:
    [refused] = tell(ledger, a_cost("purchase", micro=1))
    assert isinstance(refused, Refusal) and "life_days" in refused.message


def test_a_month_that_is_none_is_refused(ledger: Ledger, world: World) -> None:
    with ledger.database.reading.begin() as connection:
        answer = answer_profit(connection, ProfitQuery(month="2026-13"), world.now_ms)
    assert isinstance(answer, Refusal)


@pytest.mark.parametrize("by", ["device", "tenant", "job"])
def test_an_empty_month_has_no_profit_and_no_loss(ledger: Ledger, world: World, by: By) -> None:
    view = ask(ledger, world, by)
    assert (view.lines, view.totals, view.energy_known_ppm) == ((), (), None)
