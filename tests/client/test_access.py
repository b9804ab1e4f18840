"""Do failures of the connection become sentences and exit codes?"""

from __future__ import annotations

import asyncio
import time

import pytest

from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_client.client import Client
from penstock_client.commands.access import Access, UnavailableFailure


def test_a_connection_that_the_broker_ends_for_good_ends_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def connect(*_: object, **__: object) -> Client:
        closed = asyncio.Event()
        asyncio.get_running_loop().call_soon(closed.set)
        return Client(await memory.connect(MemoryBroker(time.time_ns), name="x"), closed)

    async def wait_for_ever(client: Client) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Client, "connect", connect)
    with pytest.raises(UnavailableFailure, match="closed the connection for good") as caught:
        Access(None, None, as_json=False).run(wait_for_ever)
    assert caught.value.exit_code == 3
