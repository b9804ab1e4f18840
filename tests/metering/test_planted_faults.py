"""Can the check fail? Each way in which an account can be wrong is planted, and must be found."""

from __future__ import annotations

import msgspec
import pytest

from metering.conftest import Ledger
from metering.test_conservation import check
from metering.world import World
from penstock_contracts.usage import Segment, UsageBatch
from penstock_metering.core.conservation import Balance


def codes(result: Balance) -> set[str]:
    return {finding.code for finding in result.findings}


def tampered(ledger: Ledger, world: World, change: object) -> Balance:
    """The second segment of a long job is changed by `change(segment) -> segments`."""
    agent = world.a_node(gpus=1)
    job = world.submit()
    world.grant(job, ("n1", agent.devices))
    world.start(job)
    for _ in range(3):
        world.pass_ms(60_000)
        world.cut(job)
    world.pass_ms(10)
    world.exit(job)
    world.release(job)
    world.finish(job)
    seq = agent.send()
    said = msgspec.json.decode(world.streams["USAGE"][seq - 1].payload, type=UsageBatch)
    first, second, *others = said.segments
    segments = (first, *change(second), *others)  # type: ignore[operator]
    world.replace("USAGE", seq, msgspec.structs.replace(said, segments=segments))
    ledger.take_all(world)
    return ledger.balance(world)


def changed(segment: Segment, **fields: object) -> Segment:
    return msgspec.structs.replace(segment, **fields)


@pytest.mark.lesson(4, 24)
def test_a_lost_segment_is_unaccounted(ledger: Ledger, world: World) -> None:
    result = tampered(ledger, world, lambda segment: ())
    assert result.unaccounted_ms == 120_000  # missing as running, and too much not running
    assert "segments_missing" in codes(result)


def test_a_doubled_segment_is_unaccounted(ledger: Ledger, world: World) -> None:
    result = tampered(ledger, world, lambda segment: (segment, changed(segment, seq=90)))
    assert result.unaccounted_ms == 60_000
    assert "segments_missing" in codes(result)


def test_an_overlapping_segment_is_unaccounted(ledger: Ledger, world: World) -> None:
    def shift(segment: Segment) -> tuple[Segment, ...]:
        return (changed(segment, t0_ms=segment.t0_ms - 7, t1_ms=segment.t1_ms - 7),)

    result = tampered(ledger, world, shift)
    assert result.unaccounted_ms == 7  # as long as before, but 7 ms lie over the one before
    assert "segments_not_contiguous" in codes(result)


def test_a_segment_one_ms_short_is_unaccounted(ledger: Ledger, world: World) -> None:
    result = tampered(ledger, world, lambda s: (changed(s, t1_ms=s.t1_ms - 1),))
    assert result.unaccounted_ms == 2


def test_a_segment_on_another_device_is_unaccounted(ledger: Ledger, world: World) -> None:
    result = tampered(ledger, world, lambda s: (changed(s, devices=("SIM-elsewhere",)),))
    assert result.unaccounted_ms == 180_000
    assert {"device_unknown", "segment_not_of_lease"} <= codes(result)


def test_a_segment_of_no_lease_is_found(ledger: Ledger, world: World) -> None:
    result = tampered(ledger, world, lambda s: (s, changed(s, lease_seq=999)))
    assert result.unaccounted_ms == 60_000  # it ran while the device was running already
    assert "segment_without_lease" in codes(result)


def test_a_counter_that_miscounts_is_unaccounted(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    world.a_run("n1", agent.devices)
    agent.running[agent.devices[0]] += 1
    assert check(ledger, world).unaccounted_milli_ms == 2


def test_a_counter_that_began_late_is_unaccounted(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    world.pass_ms(1_000)
    agent.joined_ms += 30
    assert check(ledger, world).unaccounted_ms == 30


def test_a_device_without_a_counter_is_found(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=2)
    del agent.running[agent.devices[1]]
    assert codes(check(ledger, world)) == {"counter_missing"}


def test_two_leases_of_one_device_at_once_are_found(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    for _ in range(2):
        world.grant(world.submit(), ("n1", agent.devices))
    ledger.take_all(world)
    assert [finding.code for finding in ledger.library.findings()] == ["leases_overlap"]
