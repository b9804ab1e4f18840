"""Which agents and meshes do these tests use?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.scripted import AgentProcess, Mesh


@pytest.fixture
async def mesh(bus: Any) -> AsyncIterator[Mesh]:
    """A scripted mesh on a fresh broker."""
    mesh = Mesh(bus)
    await mesh.open()
    yield mesh


AgentFactory = Callable[..., AgentProcess]


@pytest.fixture
def agent_factory(nats_server: Any, tmp_path: Path) -> Iterator[AgentFactory]:
    """`agent_factory("--flag", ...)` starts the one agent of the test; ended with all its work."""
    made: list[AgentProcess] = []

    def make(*flags: str) -> AgentProcess:
        process = AgentProcess(tmp_path, nats_server.url, *flags)
        made.append(process)
        process.start()
        return process

    yield make
    for process in made:
        with suppress(ProcessLookupError):
            process.end()
