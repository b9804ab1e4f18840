"""Is what agents sent dropped no sooner than it may be, and never the knowledge that it came?"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import sqlalchemy as sa

from metering.canonical import canonical
from metering.conftest import Ledger
from metering.world import World
from penstock_metering.bills.tables import periods
from penstock_metering.core.months import month_bounds_ms, month_of
from penstock_metering.ledger import schema
from penstock_metering.ledger.retention import DAY_MS, Retention, forget_some
from penstock_metering.rating.rater import forget_open, rate_all
from penstock_metering.threads import run_inline
from penstock_runtime.clock import VirtualClock

KEPT_MS = 1_000_000


def raw(ledger: Ledger) -> list[str]:
    with ledger.database.reading.begin() as connection:
        table = schema.raw_segments
        ordered = sa.select(table.c.payload).order_by(*table.primary_key.columns)
        return list(connection.execute(ordered).scalars())


def close(ledger: Ledger, month: str, at_ms: int) -> None:
    """As closing does, as far as it matters here."""
    row = {"month": month, "closed_ms": at_ms, "usage_batch": 0, "unfinished": 0}
    ledger.ingest.change(lambda connection: connection.execute(sa.insert(periods), [row]))


def forget(ledger: Ledger, now_ms: int, limit: int = 100) -> None:
    grant: int | None = 0
    while grant is not None:
        grant = ledger.ingest.change(
            partial(forget_some, closed_before_ms=now_ms - KEPT_MS, after_grant=grant, limit=limit)
        )


def a_world_over_two_months() -> tuple[World, str, int]:
    """Five jobs in its first month, one that runs on into the next, and one within that."""
    world = World()
    agent = world.a_node(gpus=2)
    month = month_of(world.now_ms)
    for _ in range(5):
        world.a_run("n1", agent.devices[:1])
    end_ms = month_bounds_ms(month)[1]
    long = world.submit()
    world.grant(long, ("n1", agent.devices[1:]))
    world.start(long)
    world.pass_ms(end_ms - world.now_ms + 5_000)
    world.exit(long)
    world.release(long)
    world.finish(long)
    world.a_run("n1", agent.devices[:1])
    agent.send()
    return world, month, end_ms


def test_raw_segments_of_a_closed_month_go_after_a_while_and_no_others(ledger: Ledger) -> None:
    world, month, end_ms = a_world_over_two_months()
    ledger.take_all(world)
    before = raw(ledger)
    forget(ledger, end_ms + 10 * KEPT_MS)
    assert raw(ledger) == before  # nothing is closed
    close(ledger, month, end_ms)
    forget(ledger, end_ms + KEPT_MS)
    assert raw(ledger) == before  # not for long enough
    forget(ledger, end_ms + KEPT_MS + 1, limit=2)
    assert raw(ledger) == ["", "", "", "", "", *before[5:]]
    assert len(before) == 7


def test_without_raw_segments_a_repetition_is_known_and_the_rest_stands(ledger: Ledger) -> None:
    world, month, end_ms = a_world_over_two_months()
    ledger.take_all(world)
    ledger.ingest.change(rate_all)
    close(ledger, month, end_ms)
    forget(ledger, end_ms + KEPT_MS + 1)
    before = canonical(ledger)
    last = world.streams["USAGE"][-1]
    world.store("USAGE", last.subject, last.payload)
    ledger.take_all(world)
    ledger.ingest.change(forget_open)
    ledger.ingest.change(rate_all)
    assert ledger.ingest.totals.repeated == 7
    assert canonical(ledger) == before
    assert ledger.balance(world).unaccounted_milli_ms == 0
    assert ledger.library.findings() == []


async def test_metering_looks_by_itself(ledger: Ledger, eventually: Any) -> None:
    world, month, end_ms = a_world_over_two_months()
    ledger.take_all(world)
    close(ledger, month, end_ms)
    clock = VirtualClock((end_ms + 2 * DAY_MS) * 1_000_000)
    retention = Retention(ledger.ingest, run_inline, clock, kept_days=1)
    task = asyncio.ensure_future(retention.run())
    await eventually(lambda: raw(ledger).count("") == 5)
    task.cancel()
    await asyncio.wait({task})
