"""Does the adapter ask for nothing but what it needs, and say when it is refused?

Brokers whose users may use a few subjects only, and accounts that reach streams by service imports.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from bus.conftest import a_stream
from conftest import Eventually, NatsServer, NatsServerFactory
from penstock_bus import credentials as credentials_file
from penstock_bus.nats import NatsBus, connect
from penstock_bus.port import Appended, BusRefusal, Message, WrongSequence

NODE = """
accounts {
  MESH {
    jetstream: enabled
    users: [{user: "service", password: "p"}]
    exports: [
      {service: "event.*.report", accounts: [NODES]}
      {service: "$JS.API.DIRECT.GET.EVENTS", accounts: [NODES]}
      {service: "$JS.API.DIRECT.GET.EVENTS.>", accounts: [NODES]}
    ]
  }
  NODES {
    users: [{
      user: "node", password: "p"
      permissions: {
        publish: {allow: [
          "event.node1.report", "$JS.API.DIRECT.GET.EVENTS", "$JS.API.DIRECT.GET.EVENTS.>",
          "note.node1"
        ]}
        subscribe: {allow: ["_INBOX_node1.>", "order.node1"]}
        allow_responses: {max: 1, expires: "5s"}
      }
    }, {user: "peer", password: "p"}]
    imports: [
      {service: {account: MESH, subject: "event.*.report"}}
      {service: {account: MESH, subject: "$JS.API.DIRECT.GET.EVENTS"}}
      {service: {account: MESH, subject: "$JS.API.DIRECT.GET.EVENTS.>"}}
    ]
  }
}
"""


@pytest.fixture
def server(nats_server_factory: NatsServerFactory) -> NatsServer:
    return nats_server_factory(NODE)


async def user(server: NatsServer, name: str, **options: Any) -> NatsBus:
    return await connect(server.url.replace("//", f"//{name}:p@"), name=name, **options)


@pytest.fixture
async def service(server: NatsServer) -> Any:
    bus = await user(server, "service")
    await bus.ensure_streams([a_stream()])
    yield bus
    await bus.close()


@pytest.fixture
async def node(server: NatsServer, service: NatsBus) -> Any:
    bus = await user(server, "node", inbox_prefix="_INBOX_node1")
    yield bus
    await bus.close()


async def test_an_account_that_imports_appends_and_reads_directly(
    service: NatsBus, node: NatsBus, eventually: Eventually
) -> None:
    assert await node.append("event.node1.report", b"1", message_id="r1") == Appended("EVENTS", 1)
    assert await node.append("event.node1.report", b"1", message_id="r1") == Appended(
        "EVENTS", 1, True
    )
    with pytest.raises(WrongSequence):
        await node.append("event.node1.report", b"2", expected_last_seq=0)
    results: list[Appended | Exception] = []
    for n in range(50):
        node.append_nowait("event.node1.report", b"%d" % n, results.append)
    await eventually(lambda: len(results) == 50)
    assert results[-1] == Appended("EVENTS", 51)

    last = await node.read_last("EVENTS", "event.node1.report")
    assert last is not None and (last.seq, last.payload) == (51, b"49")
    first = await node.read("EVENTS", 1)
    assert first is not None and first.payload == b"1"
    following = await node.read_next("EVENTS", 2, "event.*.report")
    assert following is not None and following.seq == 2
    assert await node.read("EVENTS", 99) is None
    assert node.counters["permission_refusals"] == 0


async def test_an_append_without_the_right_is_refused_at_once(node: NatsBus) -> None:
    started = time.monotonic()
    with pytest.raises(BusRefusal) as refusal:
        await node.append("event.node2.report", b"forged", timeout_s=30.0)
    assert refusal.value.code == 403 and time.monotonic() - started < 5.0
    with pytest.raises(BusRefusal):
        await node.request("$JS.API.STREAM.INFO.EVENTS", b"", timeout_s=30.0)
    assert node.counters["permission_refusals"] == 2
    assert node.connected


async def test_a_publish_without_the_right_is_counted(
    node: NatsBus, eventually: Eventually
) -> None:
    node.publish_nowait("note.node2", b"")
    await eventually(lambda: node.counters["permission_refusals"] == 1)
    assert node.connected


async def test_a_subscription_without_the_right_is_refused(node: NatsBus) -> None:
    with pytest.raises(BusRefusal):
        await node.subscribe("order.>", lambda m: None)
    with pytest.raises(BusRefusal):
        await node.subscribe("_INBOX.>", lambda m: None)
    await node.subscribe("order.node1", lambda m: None)


async def test_a_reader_without_the_right_is_refused(node: NatsBus) -> None:
    with pytest.raises(BusRefusal):
        await node.reader("EVENTS", after_seq=0)


async def test_a_node_answers_orders_by_the_right_to_respond_once(
    server: NatsServer, node: NatsBus
) -> None:
    peer = await user(server, "peer")

    def answer(message: Message) -> None:
        node.respond_nowait(message, b"done")

    await node.subscribe("order.node1", answer)
    for _ in range(3):
        assert (await peer.request("order.node1", b"", timeout_s=2.0)).payload == b"done"
    await peer.close()


async def test_a_forged_reply_subject_makes_no_service_write_for_the_sender(
    service: NatsBus, eventually: Eventually
) -> None:
    """The query's reply names a subject of a stream that the asker may not write."""
    asked: list[Message] = []

    def answer(message: Message) -> None:
        asked.append(message)
        service.respond_nowait(message, b"forged entry")

    await service.subscribe("query", answer)
    service._connection.publish_nowait("query", "event.forged", b"", None)
    await eventually(lambda: asked)
    assert service.counters["forged_replies"] == 1
    assert (await service.stream_state("EVENTS")).last_seq == 0


def a_creds_file(path: Path, expires_s: int) -> str:
    """The outer form of a .creds file; the signature is nobody's."""

    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    token = f"{part({'typ': 'JWT'})}.{part({'exp': expires_s, 'name': 'n'})}.c2ln"
    path.write_text(
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n",
        encoding="utf-8",
    )
    return str(path)


def test_the_expiry_of_a_credentials_file_is_read_or_unknown(tmp_path: Path) -> None:
    assert credentials_file.expiry_s(a_creds_file(tmp_path / "a", 1_800_000_000)) == 1_800_000_000
    assert credentials_file.expiry_s(a_creds_file(tmp_path / "b", 0)) is None
    assert credentials_file.expiry_s(str(tmp_path / "missing")) is None
    (tmp_path / "c").write_text("-----BEGIN NATS USER JWT-----\nrubbish\n", encoding="utf-8")
    assert credentials_file.expiry_s(str(tmp_path / "c")) is None
    assert credentials_file.renewal_delay_s(1_100, 1_000.0) == pytest.approx(67.0)
    assert credentials_file.renewal_delay_s(900, 1_000.0) == 0.0


async def test_a_renewed_credential_is_used_before_the_old_one_ends(
    nats_server: NatsServer, tmp_path: Path, eventually: Eventually
) -> None:
    """Trap 9. This broker asks for no credential; what is tried is the coming back."""
    now_s = int(time.time())
    seed = "\n-----BEGIN USER NKEY SEED-----\nSU\n------END USER NKEY SEED------\n"
    path = tmp_path / "user.creds"
    a_creds_file(path, now_s + 2)
    path.write_text(path.read_text(encoding="utf-8") + seed, encoding="utf-8")
    bus = await connect(nats_server.url, name="t", credentials=str(path))
    await eventually(lambda: bus.counters["stale_credentials"] >= 1)
    assert bus.counters["renewals"] == 0  # nothing newer: coming back would not help
    a_creds_file(path, now_s + 3_600)
    await eventually(lambda: bus.counters["renewals"] == 1 and bus.connected)
    await asyncio.wait_for(bus.publish("s", b""), 2.0)
    await bus.close()
