"""Does a host tell nothing but what happened, whatever befalls it at random and at once?

Hundreds of short worlds of one host each: cheaper than whole meshes, and rougher.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penstock_bus.memory_link import NO_FAULTS, Faults
from penstock_contracts.leases import Exited, LeaseOrder
from tests.checkers.history import Run
from tests.simulation.host_story import Story
from tests.simulation.workload import Script

CALM_S = 230.0
STAMP_MS = 10
"""Stamps of a reaper that nothing holds up differ from the truth by less."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def strikes(story: Story, rng: random.Random) -> dict[str, tuple[Callable[[], Any], Any]]:
    """What may befall it, and how that is undone."""
    host, broker = story.host, story.broker
    faults = Faults(loss=rng.choice((0.0, 0.3)), delay_s_max=rng.choice((0.1, 1.0)))
    slow_s = rng.choice((0.05, 0.5, 4.0))
    return {
        "agent killed": (lambda: host.kill_agent(rng.randrange(40)), None),
        "agent stopped": (host.stop_agent, None),
        "agent frozen": (host.freeze_agent, host.thaw_agent),
        "reaper killed": (lambda: host.kill_reaper(rng.randrange(12)), None),
        "reaper frozen": (host.freeze_reaper, host.thaw_reaper),
        "power lost": (host.lose_power, host.boot),
        "disk lost": (host.lose_disk, host.boot),
        "disk full": (
            lambda: setattr(host.disk, "full", True),
            lambda: setattr(host.disk, "full", False),
        ),
        "disk slow": (
            lambda: setattr(host.disk, "slow_s", slow_s),
            lambda: setattr(host.disk, "slow_s", 0.0),
        ),
        "suspended": (host.suspend, host.resume),
        "clock stepped": (lambda: host.clock.step_wall(rng.randrange(-(10**15), 10**15)), None),
        "network bad": (
            lambda: broker.set_faults(faults),
            lambda: broker.set_faults(NO_FAULTS),
        ),
    }


def a_storm(seed: int) -> tuple[Story, list[str]]:
    rng = random.Random(seed)
    names: list[str] = []

    def strike(story: Story) -> None:
        later = story.kernel.loop.call_later
        possible = strikes(story, rng)
        for _ in range(rng.randrange(1, 9)):
            name = rng.choice([*possible, "power lost", "agent killed"])
            names.append(name)
            at_s = rng.choice((rng.uniform(0, 5), rng.uniform(55, 70), rng.uniform(0, 150)))
            begin, undo = possible[name]
            later(at_s, begin)
            if undo is not None:
                later(at_s + rng.choice((0.5, 3.0, 20.0, 70.0)), undo)
        later(CALM_S, story.host.boot)

    first = Script(
        run_s=rng.choice((0.5, 3.0, 59.8, 70.0)),
        exit_code=rng.choice((0, 3)),
        out_bytes=rng.choice((0, 300, 5_000)),
        stubborn=rng.random() < 0.3,
    )
    second = Script(run_s=2, out_bytes=rng.choice((0, 150)))
    return Story(strike, script=first, afterwards=second, seed=seed), names


def check(story: Story, order: LeaseOrder, *, held_up: bool) -> None:
    """One run at most; of an end that was seen, code, time and output are those of the run."""
    runs: list[Run] = [run for run in story.runs if run.job_id == order.job_id]
    assert len(runs) <= 1
    told = story.mesh.text(order, "stdout")
    assert (runs[0].output["stdout"] if runs else b"").startswith(told)
    items = story.mesh.story(order)
    seen = [item for item in items if isinstance(item, Exited) and item.exit_code is not None]
    assert len(seen) <= 1
    segments = [s for s in story.mesh.segments.values() if s.lease_seq == order.lease_seq]
    for end in seen:
        (run,) = runs
        assert (end.exit_code, end.segments) == (run.exit_code, len(segments))
        assert run.ended_boot_ns is not None
        ran_ms = (run.ended_boot_ns - run.began_boot_ns) / 1e6
        billed_ms = sum(segment.t1_ms - segment.t0_ms for segment in segments)
        assert held_up or abs(billed_ms - ran_ms) < STAMP_MS


def check_seeds(seeds: range) -> None:
    ends = 0
    for seed in seeds:
        story, names = a_storm(seed)
        held_up = bool({"reaper frozen", "disk slow", "suspended"} & set(names))
        for order in (story.order, story.other):
            try:
                check(story, order, held_up=held_up)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, {names}: {error}") from error
            ends += story.mesh.has(order, "Exited")
    assert ends > len(seeds) // 2


def test_storms_change_nothing_about_the_truth() -> None:
    check_seeds(range(40))


@pytest.mark.long
def test_a_thousand_storms_change_nothing_about_the_truth() -> None:
    check_seeds(range(40, 1_040))
