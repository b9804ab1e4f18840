"""Does the real adapter live through what nats-py alone does not?

One test per trap of the client that a conformance test cannot reach: dead connections that look
alive, connections closed for good, slow consumers, publishers that outrun the broker."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from bus.conftest import a_stream
from conftest import BusFactory, Eventually, NatsServer, NatsServerFactory
from penstock_bus import nats_session
from penstock_bus.nats import connect
from penstock_bus.port import BusRefusal, Message, Outage, StoredMessage


async def test_the_watchdog_leaves_a_broker_that_no_longer_answers(
    nats_server: NatsServer,
    bus_factory: BusFactory,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Trap 5: a connection can be dead and call itself connected."""
    monkeypatch.setattr(nats_session, "WATCHDOG_S", 0.1)
    monkeypatch.setattr(nats_session, "WATCHDOG_TIMEOUT_S", 0.3)
    bus = await bus_factory()
    await bus.ensure_streams([a_stream()])
    reader = await bus.reader("EVENTS", after_seq=0)
    nats_server.freeze()
    pending = asyncio.ensure_future(bus.append("event.a", b"x", timeout_s=30.0))
    try:
        await eventually(lambda: not bus.connected)
        with pytest.raises(Outage):  # at once, not after its 30 s
            await asyncio.wait_for(pending, 5.0)
    finally:
        nats_server.thaw()
    await eventually(lambda: bus.connected, timeout_s=15)
    assert bus.counters["watchdog_reconnects"] >= 1
    await bus.append("event.a", b"y")
    last = (await bus.stream_state("EVENTS")).last_seq
    got: list[StoredMessage] = []
    async with asyncio.timeout(10):
        while len(got) < last:
            got += await reader.next_batch()
    assert got[-1].payload == b"y"


async def test_the_watchdog_replaces_a_read_loop_that_has_died(
    bus_factory: BusFactory, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_session, "WATCHDOG_S", 0.1)
    bus = await bus_factory()
    bus._connection._reading_task.cancel()
    await eventually(lambda: bus.counters["reconnects"] == 1)
    await bus.subscribe("echo", lambda m: bus.respond_nowait(m, m.payload))
    assert (await bus.request("echo", b"x", timeout_s=2.0)).payload == b"x"


async def test_a_pong_for_a_ping_that_gave_up_does_not_end_the_read_loop(
    nats_server: NatsServer, bus_factory: BusFactory
) -> None:
    bus = await bus_factory()
    nats_server.freeze()
    try:
        with pytest.raises(Outage):
            await bus._connection.barrier(0.1)
    finally:
        nats_server.thaw()
    await bus._connection.barrier(5.0)
    assert not bus._connection.read_loop_died


async def test_it_reconnects_for_ever_and_says_how_often(
    nats_server: NatsServer, bus_factory: BusFactory, eventually: Eventually
) -> None:
    """Trap 5: nats-py's default gives up after 60 attempts, silently."""
    bus = await bus_factory()

    async def reconnected(times: int) -> None:
        await eventually(lambda: bus.counters["reconnects"] == times)

    for kills in (1, 2, 3):
        nats_server.restart()
        await reconnected(kills)
    assert bus._connection.options["max_reconnect_attempts"] == -1


async def test_connecting_to_nothing_is_an_outage_in_time() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        started = time.monotonic()
        with pytest.raises(Outage):
            await connect(f"nats://127.0.0.1:{port}", name="t", connect_timeout_s=0.5)
        assert time.monotonic() - started < 5.0


USERS = 'authorization {{ users = [{{user: "{user}", password: "p"}}] }}'


async def test_wrong_credentials_are_refused_at_once(
    nats_server_factory: NatsServerFactory,
) -> None:
    server = nats_server_factory(USERS.format(user="known"))
    with pytest.raises(BusRefusal):
        await asyncio.wait_for(
            connect(server.url.replace("//", "//stranger:p@"), name="t", connect_timeout_s=30.0),
            5.0,
        )


async def test_a_connection_that_the_broker_ends_for_good_is_reported(
    nats_server: NatsServer, eventually: Eventually
) -> None:
    """Trap 9: after any -ERR but two kinds nats-py closes and stays closed."""
    closed: list[Exception | None] = []
    bus = await connect(nats_server.url, name="t", on_closed=closed.append)
    pending = asyncio.ensure_future(bus.request("x", b"", timeout_s=30.0))
    bus._connection.send(b"PUB x 99999999\r\n")  # more than the broker takes
    await eventually(lambda: closed)
    assert len(closed) == 1 and not bus.connected and bus.counters["closed"] == 1
    with pytest.raises(Outage):
        await asyncio.wait_for(pending, 5.0)
    with pytest.raises(Outage):
        await bus.request("x", b"", timeout_s=0.5)
    await bus.close()
    assert len(closed) == 1  # leaving is no news


async def test_a_revoked_client_keeps_asking_and_is_let_in_again(
    nats_server_factory: NatsServerFactory, eventually: Eventually
) -> None:
    server = nats_server_factory(USERS.format(user="known"))
    bus = await connect(server.url.replace("//", "//known:p@"), name="t")
    server.reconfigure(USERS.format(user="another"))
    await eventually(lambda: bus.counters["authorization_refusals"] >= 2)
    assert not bus.connected
    server.reconfigure(USERS.format(user="known"))
    await eventually(lambda: bus.connected)
    await bus.close()


async def test_a_reconnect_that_died_of_an_unreadable_credential_is_begun_again(
    nats_server: NatsServer, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_session, "WATCHDOG_S", 0.1)
    bus = await connect(nats_server.url, name="t")
    broken = True
    connect_command = bus._connection._connect_command

    def command() -> bytes:
        if broken:
            raise TypeError("half a credentials file")
        return connect_command()

    monkeypatch.setattr(bus._connection, "_connect_command", command)
    nats_server.restart()
    await eventually(lambda: bus.counters["watchdog_reconnects"] >= 1)
    broken = False
    await eventually(lambda: bus.connected)
    await bus.close()


async def test_closing_delivers_what_was_published_and_reports_nothing(
    bus_factory: BusFactory, nats_server: NatsServer, eventually: Eventually
) -> None:
    closed: list[Exception | None] = []
    got: list[bytes] = []
    listener = await bus_factory()
    await listener.subscribe("s", lambda m: got.append(m.payload))
    bus = await connect(nats_server.url, name="t", on_closed=closed.append)
    for n in range(100):
        bus.publish_nowait("s", b"%d" % n)
    await bus.close()
    await bus.close()
    await eventually(lambda: len(got) == 100)
    assert closed == []


async def test_a_client_too_slow_for_the_broker_is_cut_off_and_comes_back(
    nats_server_factory: NatsServerFactory, eventually: Eventually
) -> None:
    """Trap 6: the loss is visible as a disconnect; a reader then fills the gap."""
    server = nats_server_factory('max_pending: 1MB\nwrite_deadline: "100ms"')
    bus = await connect(server.url, name="slow")
    woken = threading.Event()

    def flood() -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as peer:
            peer.recv(4096)
            line = b"PUB flood 65536\r\n" + b"x" * 65_536 + b"\r\n"
            peer.sendall(b'CONNECT {"verbose":false}\r\nPUB flood 1\r\nx\r\n')
            for _ in range(400):
                peer.sendall(line)
        woken.set()

    def handle(message: Message) -> None:
        if message.payload == b"x":  # the first: then the whole loop stands still for a while
            woken.wait(2.0)

    await bus.subscribe("flood", handle)
    thread = threading.Thread(target=flood)
    thread.start()
    await eventually(lambda: bus.counters["disconnects"] >= 1 and bus.connected)
    thread.join()
    await bus.subscribe("echo", lambda m: bus.respond_nowait(m, b"ok"))
    assert (await bus.request("echo", b"", timeout_s=2.0)).payload == b"ok"
    await bus.close()


async def test_a_publisher_that_outruns_the_broker_is_held_back(
    nats_server: NatsServer, bus_factory: BusFactory
) -> None:
    bus = await bus_factory()
    nats_server.freeze()
    try:
        with pytest.raises(Outage):
            for _ in range(64):
                bus.publish_nowait("s", b"x" * 1024 * 1024)
    finally:
        nats_server.thaw()
    assert bus.counters["unsent_overflows"] == 1


async def test_publish_waits_for_the_broker_instead_of_buffering_without_end(
    bus_factory: BusFactory,
) -> None:
    bus = await bus_factory()
    got = 0

    def count(message: Message) -> None:
        nonlocal got
        got += 1

    other = await bus_factory()
    await other.subscribe("s", count)
    for _ in range(128):
        await bus.publish("s", b"x" * 512 * 1024)
        assert bus._connection.unsent_bytes < 8 * 1024 * 1024
    await bus._connection.barrier(10.0)
