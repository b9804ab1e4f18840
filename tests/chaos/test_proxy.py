"""Does the fault proxy do to a connection what it is asked, and nothing else?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from chaos.proxy import GOOD, Condition, Link

SHORT_S = 0.2


class Echo:
    """A server that sends back what it hears, and a link to it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self.link = Link(("127.0.0.1", 0))

    async def open(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.link = Link(("127.0.0.1", self.server.sockets[0].getsockname()[1]))
        await self.link.open("127.0.0.1")

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.link.port)
        self._writers.append(writer)
        return reader, writer

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                self.heard.append(data)
                writer.write(data)
        writer.close()

    async def close(self) -> None:
        await self.link.close()
        if self.server is not None:
            self.server.close()
        for writer in self._writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    await echo.open()
    yield echo
    await echo.close()


async def test_bytes_pass_in_order_and_whole(echo: Echo) -> None:
    reader, writer = await echo.connect()
    sent = bytes(range(256)) * 8_000
    writer.write(sent)
    assert await reader.readexactly(len(sent)) == sent


async def test_what_is_stalled_downwards_has_arrived_above_and_comes_later(echo: Echo) -> None:
    reader, writer = await echo.connect()
    writer.write(b"1")
    assert await reader.readexactly(1) == b"1"
    echo.link.set(Condition(stalled=frozenset({"down"})))
    writer.write(b"2")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readexactly(1), SHORT_S)
    assert b"".join(echo.heard) == b"12"
    echo.link.set(GOOD)
    assert await reader.readexactly(1) == b"2"


async def test_what_is_stalled_upwards_does_not_arrive_until_it_is_mended(echo: Echo) -> None:
    reader, writer = await echo.connect()
    echo.link.set(Condition(stalled=frozenset({"up"})))
    writer.write(b"1")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readexactly(1), SHORT_S)
    assert echo.heard == []
    echo.link.set(GOOD)
    assert await reader.readexactly(1) == b"1"


async def test_a_delay_keeps_order_and_adds_up_both_ways(echo: Echo) -> None:
    reader, writer = await echo.connect()
    echo.link.set(Condition(delay_s=SHORT_S))
    began = asyncio.get_running_loop().time()
    for n in range(5):
        writer.write(b"%d" % n)
        await asyncio.sleep(0)
    assert await reader.readexactly(5) == b"01234"
    assert asyncio.get_running_loop().time() - began >= 2 * SHORT_S


async def test_a_reset_breaks_what_is_open_and_refuses_nothing_new(echo: Echo) -> None:
    reader, writer = await echo.connect()
    writer.write(b"1")
    assert await reader.readexactly(1) == b"1"
    echo.link.reset()
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    reader, writer = await echo.connect()
    writer.write(b"2")
    assert await reader.readexactly(1) == b"2"


async def test_a_broker_that_is_away_ends_the_hosts_connection(echo: Echo) -> None:
    if echo.server is not None:
        echo.server.close()
        await asyncio.sleep(0)
    reader, _ = await echo.connect()
    assert await reader.read() == b""
