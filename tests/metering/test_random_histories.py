"""Is the ledger the same, byte for byte, whatever happens to what it is made of on the way?"""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.canonical import canonical
from metering.conftest import Ledger, LedgerFactory
from metering.histories import (
    Delivery,
    contradictions,
    first_version,
    in_line,
    some_prices,
    stirred,
)
from metering.play import Play
from metering.world import World
from penstock_bus.port import StoredMessage
from penstock_contracts.usage import Segment, UsageBatch
from penstock_metering.deriving import derive_all
from penstock_metering.devices import device_time
from penstock_metering.ledger import schema
from penstock_metering.rating.rater import forget_open

STEPS = 40
SOME = settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(SOME, max_examples=60)
seeds = given(seed=st.integers(0, 1 << 32))


def a_played_world(chance: random.Random) -> World:
    """Random moves; at the end everybody has closed their books and sent them."""
    play = Play(chance)
    for _ in range(STEPS):
        play.step()
    play.cut()
    for agent in play.world.agents.values():
        agent.send()
    return play.world


def derive_anew(ledger: Ledger, now_ms: int) -> None:
    ledger.ingest.change(forget_open)
    ledger.ingest.change(device_time.forget)
    ledger.ingest.change(partial(derive_all, now_ms=now_ms))


def check_same_bytes(make_ledger: LedgerFactory, seed: int) -> None:
    chance = random.Random(seed)
    world = a_played_world(chance)
    later = contradictions(world, chance, chance.randint(0, 4))
    plain, stressed = make_ledger(), make_ledger()
    prices = some_prices(chance, world.now_ms, first_version(plain))
    said = in_line([*world.streams["USAGE"], *later])
    plain.take(world.streams | {"USAGE": said})
    Delivery(plain, random.Random(0)).bring({}, world.now_ms, prices)
    stirred_up = stirred(world.streams["USAGE"], later, chance)
    Delivery(stressed, chance).bring(world.streams | {"USAGE": stirred_up}, world.now_ms, prices)
    expected = canonical(plain)
    assert canonical(stressed) == expected
    assert stressed.balance(world) == plain.balance(world)
    assert stressed.balance(world).unaccounted_milli_ms == 0
    derive_anew(stressed, world.now_ms)
    assert canonical(stressed) == expected


@pytest.mark.lesson(4, 18, 21, 23)
@SOME
@seeds
def test_whatever_happens_on_the_way_the_ledger_is_the_same_bytes(
    make_ledger: LedgerFactory, seed: int
) -> None:
    check_same_bytes(make_ledger, seed)


@pytest.mark.long
@MANY
@seeds
def test_in_many_histories_the_ledger_is_the_same_bytes(
    make_ledger: LedgerFactory, seed: int
) -> None:
    check_same_bytes(make_ledger, seed)


@SOME
@seeds
def test_the_ledger_made_anew_from_its_raw_segments_is_the_same(
    make_ledger: LedgerFactory, seed: int
) -> None:
    chance = random.Random(seed)
    world = a_played_world(chance)
    ledger, anew = make_ledger(), make_ledger()
    prices = some_prices(chance, world.now_ms, first_version(ledger))
    Delivery(ledger, chance).bring(world.streams, world.now_ms, prices)
    Delivery(anew, chance).bring(world.streams | {"USAGE": replayed(ledger)}, world.now_ms, prices)
    before, after = canonical(ledger), canonical(anew)
    for name in ("raw_segments", "ledger_lines", "rated", "usage_days", "device_sales"):
        assert after[name] == before[name], name


def replayed(ledger: Ledger) -> list[StoredMessage]:
    """Messages with nothing but the raw segments that the ledger holds."""
    raw, batches = schema.raw_segments, schema.usage_batches
    with ledger.database.reading.begin() as connection:
        rows = connection.execute(
            sa.select(batches.c.node, batches.c.boot_id, batches.c.batch, raw.c.payload)
            .join(batches, batches.c.number == raw.c.batch_number)
            .order_by(raw.c.payload)
        ).all()
    said: dict[tuple[str, str, int], list[Segment]] = {}
    for node, boot_id, batch, payload in rows:
        segment = msgspec.json.decode(payload, type=Segment)
        said.setdefault((node, boot_id, batch), []).append(segment)
    return [
        StoredMessage(
            f"penstock.v1.usage.{node}",
            msgspec.json.encode(UsageBatch(node, boot_id, batch, tuple(segments))),
            seq,
            0,
        )
        for seq, ((node, boot_id, batch), segments) in enumerate(said.items(), 1)
    ]


def lost(segment: Segment, by_ms: int) -> tuple[Segment, ...]:
    return ()


def doubled(segment: Segment, by_ms: int) -> tuple[Segment, ...]:
    return segment, msgspec.structs.replace(segment, seq=segment.seq + 1_000)


def reaching_into_the_next(segment: Segment, by_ms: int) -> tuple[Segment, ...]:
    return (msgspec.structs.replace(segment, t1_ms=segment.t1_ms + by_ms),)


@pytest.mark.lesson(24)
@pytest.mark.parametrize("plant", [lost, doubled, reaching_into_the_next])
@SOME
@seeds
def test_one_segment_lost_doubled_or_too_long_anywhere_is_unaccounted(
    make_ledger: LedgerFactory, plant: Any, seed: int
) -> None:
    chance = random.Random(seed)
    world = a_played_world(chance)
    said = [
        (message.seq, msgspec.json.decode(message.payload, type=UsageBatch))
        for message in world.streams["USAGE"]
    ]
    places = [
        (seq, batch, index)
        for seq, batch in said
        for index, segment in enumerate(batch.segments)
        if segment.t1_ms > segment.t0_ms and segment.devices
    ]
    if not places:
        return
    seq, batch, index = chance.choice(places)
    planted = plant(batch.segments[index], chance.randint(1, 5_000))
    segments = (*batch.segments[:index], *planted, *batch.segments[index + 1 :])
    world.replace("USAGE", seq, msgspec.structs.replace(batch, segments=segments))
    ledger = make_ledger()
    ledger.take_all(world)
    assert ledger.balance(world).unaccounted_ms > 0
