"""Does a run of containers and programs notice that its agent is killed at any moment?"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from agent.storm import Storm, a_lane
from containers.test_agent import Node, node
from penstock_contracts.work import Container, Mount

__all__ = ["node"]


@pytest.mark.lesson(1)
@pytest.mark.parametrize("kills", [3, pytest.param(200, marks=pytest.mark.long)])
async def test_no_container_notices_that_its_agent_is_killed_at_any_moment(
    node: Node, eventually: Any, tmp_path: Path, kills: int
) -> None:
    rng = random.Random(kills)
    tallies = tmp_path / "tallies"
    tallies.mkdir()
    mounts = (Mount(str(tallies), str(tallies), read_only=False),)
    contained = Container(image=node.podman.image, mounts=mounts)
    lanes = [
        a_lane("SIM-n1-0", rng, tallies, container=contained),
        a_lane("SIM-n1-1", rng, tallies, container=contained),
        a_lane("SIM-n1-2", rng, tallies),
        a_lane("SIM-n1-3", rng, tallies),
    ]
    storm = Storm(node.mesh, node.agent, rng, lanes)
    await storm.blow(kills, eventually)
    assert sum(job.order.container is not None for job in storm.jobs) >= 2
    await storm.assert_nothing_is_amiss(eventually)
