"""What do the counters of boots that are over still say?"""

from __future__ import annotations

import pytest

from metering.conftest import Ledger
from metering.test_device_time import anew, days_of, derived, spent
from metering.world import World
from penstock_contracts.journal import DemandNoted
from penstock_contracts.nodes import NodeLivenessChanged
from penstock_metering.devices import device_time


def test_counters_of_earlier_boots_are_not_loaded_and_an_older_one_does_not_replace_a_newer(
    ledger: Ledger, world: World
) -> None:
    agent = world.a_node(gpus=1)
    world.pass_ms(1_000)
    agent.send()
    earlier = world.streams["USAGE"][-1]
    world.pass_ms(1_000)
    agent.send()
    ledger.take_all(world)
    world.reboot("n1", "boot-2", [])
    world.agents["n1"].send()
    ledger.take_all(world)
    ledger.reopen()
    assert [key[1] for key in ledger.ingest._counters] == ["boot-2"]
    world.store("USAGE", earlier.subject, earlier.payload)
    ledger.take_all(world)
    assert ledger.balance(world).unaccounted_milli_ms == 0
    assert derived(ledger) == anew(ledger)
    assert sum(spent(days_of(ledger, world)[0]).values()) == 4_000_000


def test_a_last_counter_that_reaches_less_far_than_one_before_takes_time_back(
    ledger: Ledger, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_time, "STRIDE_MS", 0)
    agent = world.a_node(gpus=1)
    world.a_run("n1", agent.devices)
    world.journal("NODES", NodeLivenessChanged("n1", "alive", ""))
    agent.send()
    world.pass_ms(60_000)
    ledger.take_all(world)
    agent.send()
    world.journal("JOBS", DemandNoted({}))
    ledger.take_all(world)
    old = world.reboot("n1", "boot-2", [])
    old.ended_ms = (old.ended_ms or 0) - 30_000  # what it owed was counted when it last cut
    old.send()
    world.pass_ms(1_000)
    world.agents["n1"].send()
    ledger.take_all(world)
    balance = ledger.balance(world)
    assert (balance.unaccounted_milli_ms, balance.findings) == (0, [])
    assert derived(ledger) == anew(ledger)
