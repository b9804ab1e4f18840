"""Does a run of jobs notice that its agent is killed at any moment?"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from agent.scripted import Mesh
from agent.storm import Storm, a_lane


@pytest.mark.lesson(1, 23)
@pytest.mark.parametrize("kills", [6, pytest.param(200, marks=pytest.mark.long)])
async def test_no_job_notices_that_its_agent_is_killed_at_any_moment(
    mesh: Mesh, agent_factory: Any, eventually: Any, tmp_path: Path, kills: int
) -> None:
    rng = random.Random(kills)
    lanes = [a_lane(f"SIM-n1-{index}", rng, tmp_path) for index in range(4)]
    storm = Storm(mesh, agent_factory(), rng, lanes)
    await storm.blow(kills, eventually)
    assert len(storm.jobs) >= len(lanes)
    await storm.assert_nothing_is_amiss(eventually)
