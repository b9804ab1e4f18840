"""Which agents and meshes do these tests use?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.living import Living
from agent.nvml_host import NvmlHost
from agent.scripted import AgentProcess, Mesh
from nvml.library import NO_COMPILER, build
from penstock_node_agent.devices import watch as device_watch


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


@pytest.fixture
async def living(
    nats_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Living]:
    """An agent in this process, not started yet; ended with all its work."""
    monkeypatch.setattr(device_watch, "AGAIN_S", 0.02)
    agent = Living(tmp_path, nats_server.url)
    yield agent
    await agent.end()


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An NVML that answers what a test writes down."""
    try:
        return build(tmp_path_factory.mktemp("nvml"))
    except FileNotFoundError:
        pytest.skip(NO_COMPILER)


@pytest.fixture
def nvml_host(nvml_library: Path, tmp_path: Path) -> Iterator[NvmlHost]:
    """Two idle H100s, found by the real binding in this process."""
    with NvmlHost(nvml_library, tmp_path, gpus=2) as host:
        yield host
