"""On what do client tests run? A scripted mesh over the in-memory bus or a real broker."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from client.mesh import FakeMesh
from conftest import BusFactory, NatsServer
from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_client.client import Client


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker(time.time_ns)


@pytest.fixture
async def mesh(broker: MemoryBroker) -> AsyncIterator[FakeMesh]:
    """A scripted mesh in memory."""
    mesh = await FakeMesh(await memory.connect(broker, name="mesh")).start()
    yield mesh
    await mesh.stop()


@pytest.fixture
async def client(broker: MemoryBroker, mesh: FakeMesh) -> Client:
    """A client of `mesh`."""
    return Client(await memory.connect(broker, name="client"))


class Penstock(Protocol):
    """A run of the command line against the real broker."""

    async def __call__(self, *arguments: str, input: bytes = b"") -> Done: ...


class Done(NamedTuple):
    code: int
    out: bytes
    err: bytes


@pytest.fixture
async def real_mesh(bus_factory: BusFactory) -> AsyncIterator[FakeMesh]:
    """A scripted mesh on a real broker."""
    mesh = await FakeMesh(await bus_factory(name="mesh")).start()
    yield mesh
    await mesh.stop()


Spawn = Callable[..., Awaitable[Process]]


@pytest.fixture
def spawn(nats_server: NatsServer, tmp_path: Path) -> Spawn:
    """Starts `penstock ...` with a home of its own, pointed at the real broker."""
    command = str(Path(sys.executable).parent / "penstock")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    env = {
        **kept,
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PENSTOCK_NATS_URL": nats_server.url,
    }

    async def start(*arguments: str, **options: Any) -> Process:
        streams = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE}
        return await asyncio.create_subprocess_exec(
            command, *arguments, **{**streams, "env": env, "limit": 1 << 26, **options}
        )

    return start


@pytest.fixture
def penstock(spawn: Spawn) -> Penstock:
    """`await penstock("jobs", "--json")` gives (code, out, err)."""

    async def run(*arguments: str, input: bytes = b"") -> Done:
        process = await spawn(*arguments)
        out, err = await asyncio.wait_for(process.communicate(input), 60)
        return Done(process.returncode or 0, out, err)

    return run
