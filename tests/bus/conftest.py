"""Which adapters must mean the same?

`world` is a broker with clients, once real and once in memory, on asyncio and on uvloop; the
conformance tests run over all. It does not know what is asserted.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest
import uvloop

from penstock_bus import memory, nats
from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.port import Bus
from penstock_contracts.streams import StreamConfig

MIB = 1024 * 1024

_names = itertools.count(1)


def a_stream(name: str = "EVENTS", subject: str = "event.>", **changes: Any) -> StreamConfig:
    stream = StreamConfig(name=name, subjects=(subject,), max_bytes=16 * MIB)
    return msgspec.structs.replace(stream, **changes)


class World(Protocol):
    async def connect(self, *, name: str = "", inbox_prefix: str | None = None) -> Bus: ...

    async def crash(self) -> None:
        """kill -9 of the broker; what it had acknowledged is on disk."""
        ...

    async def start(self) -> None: ...


class NatsWorld:
    def __init__(self, server: NatsServerLike) -> None:
        self._server = server
        self.buses: list[nats.NatsBus] = []

    async def connect(self, *, name: str = "", inbox_prefix: str | None = None) -> Bus:
        bus = await nats.connect(
            self._server.url, name=name or f"client-{next(_names)}", inbox_prefix=inbox_prefix
        )
        self.buses.append(bus)
        return bus

    async def crash(self) -> None:
        self._server.kill()

    async def start(self) -> None:
        self._server.start()


class MemoryWorld:
    def __init__(self) -> None:
        self.broker = MemoryBroker(time.time_ns)

    async def connect(self, *, name: str = "", inbox_prefix: str | None = None) -> Bus:
        return await memory.connect(
            self.broker, name=name or f"client-{next(_names)}", inbox_prefix=inbox_prefix
        )

    async def crash(self) -> None:
        self.broker.crash()

    async def start(self) -> None:
        self.broker.start()


class NatsServerLike(Protocol):
    @property
    def url(self) -> str: ...

    def kill(self) -> None: ...

    def start(self) -> None: ...


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test of this folder runs on both loops that processes run on."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The twin leaves nothing to the loop but to call back: on uvloop it is tried seldom."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and "[uvloop-memory" in item.name:
            item.add_marker(pytest.mark.long)


@pytest.fixture(params=("nats", "memory"))
def adapter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def world(adapter: str, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if adapter == "memory":
        yield MemoryWorld()
        return
    real = NatsWorld(request.getfixturevalue("nats_server"))
    yield real
    for bus in real.buses:
        await bus.close()


@pytest.fixture
async def bus(world: World) -> Bus:
    return await world.connect(name="one")
