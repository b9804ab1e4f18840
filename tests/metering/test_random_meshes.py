"""Is nothing ever unaccounted while everybody behaves, whatever happens to them?

Plays random meshes (fractions, gangs, losses, reboots, drains, clocks apart, agents that send
rarely) and compares after each step. The world's own knowledge of what ran is the yardstick.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.conftest import LedgerFactory
from metering.play import Play
from penstock_metering.core.device_days import SOLD_STATES

STEPS = 40


@pytest.mark.lesson(4, 19)
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 1 << 32))
def test_a_well_behaved_mesh_has_nothing_unaccounted(make_ledger: LedgerFactory, seed: int) -> None:
    play, ledger = Play(random.Random(seed)), make_ledger()
    for step in range(STEPS):
        play.step()
        if step % 8 == 7:
            play.cut()
            for agent in play.world.agents.values():
                agent.send()
            ledger.take_all(play.world)
            result = ledger.balance(play.world)
            assert result.unaccounted_milli_ms == 0
            assert result.findings == []
            assert sum(result.milli_ms.values()) == result.capacity_milli_ms
            sold = sum(result.milli_ms[state] for state in SOLD_STATES)
            assert sold == play.sold_milli_ms
            assert min(result.milli_ms.values()) >= 0
            ledger.reopen()
    assert ledger.library.findings() == []
