"""On what do gateway tests run? The real application in front of a scripted mesh in memory."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer

from client.mesh import FakeMesh
from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_client.client import Client
from penstock_gateway.app import make_app

TOKEN = "s3cret"


class Answered(NamedTuple):
    status: int
    body: Any

    @property
    def code(self) -> str:
        """The refusal's code; every error must have one."""
        return str(self.body["refusal"]["code"])


Api = Callable[..., Awaitable[Answered]]
Http = TestClient[Any, Any]


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker(time.time_ns)


@pytest.fixture
async def mesh(broker: MemoryBroker) -> AsyncIterator[FakeMesh]:
    mesh = await FakeMesh(await memory.connect(broker, name="mesh")).start()
    yield mesh
    await mesh.stop()


@pytest.fixture
async def http(broker: MemoryBroker, mesh: FakeMesh) -> AsyncIterator[Http]:
    """An HTTP client that sends the token."""
    app = make_app(Client(await memory.connect(broker, name="gateway")), token=TOKEN)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with TestClient(TestServer(app), headers=headers) as client:
        yield client


@pytest.fixture
def api(http: Http) -> Api:
    """`await api("GET", "/v1/jobs")` gives the status and the decoded body."""

    async def call(method: str, path: str, **options: Any) -> Answered:
        async with http.request(method, path, **options) as response:
            data = await response.read()
            is_json = response.content_type == "application/json"
            return Answered(response.status, msgspec.json.decode(data) if is_json else data)

    return call
