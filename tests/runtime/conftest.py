"""Which buses does a journaled service run over in these tests?"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.port import Bus
from runtime.tally import prepare

Connect = Callable[[str], Awaitable[Any]]


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker(time.time_ns)


@pytest.fixture
async def twin(broker: MemoryBroker) -> AsyncIterator[Connect]:
    """`await twin("name")` connects to the in-memory broker; streams and buckets exist."""
    buses: list[Bus] = []

    async def make(name: str) -> Bus:
        buses.append(await memory.connect(broker, name=name))
        return buses[-1]

    await prepare(await make("setup"))
    yield make
    for bus in buses:
        await bus.close()


@pytest.fixture
async def real(bus_factory: Connect) -> Connect:
    """As `twin`, over a real broker."""
    await prepare(await bus_factory("setup"))
    return bus_factory


@pytest.fixture(params=["twin", "real"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """The test runs over both."""
    made: Connect = request.getfixturevalue(request.param)
    return made
