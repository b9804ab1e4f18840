"""Does inventory's shell hear, obey and answer as its core decides?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from conftest import Eventually
from inventory.builders import a_description, a_heartbeat, as_json
from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_contracts.nodes import Device, NodeView
from penstock_contracts.queries import Answer, InventoryAudit, NodesView
from penstock_contracts.streams import BUCKETS, OBJECT_BUCKETS, STREAMS
from penstock_inventory.answers import PAGE_BYTES_MAX
from penstock_inventory.service import Inventory
from penstock_runtime.clock import VirtualClock
from penstock_runtime.process import EXIT_OK, StopSignal

SECOND = 1_000_000_000


class Site:
    """An inventory over the in-memory broker, and a bus beside it."""

    def __init__(self, broker: MemoryBroker, outside: memory.MemoryBus) -> None:
        self.broker = broker
        self.outside = outside
        self.clock = VirtualClock()
        self.inventory: Inventory
        self.stop: StopSignal
        self.task: asyncio.Task[int]

    async def start(self) -> None:
        bus = await memory.connect(self.broker, name="inventory")
        self.inventory = Inventory(bus, clock=self.clock)
        self.stop = StopSignal()
        self.task = asyncio.create_task(self.inventory.run(self.stop))

    async def end(self) -> None:
        self.stop.request("the test is over")
        assert await self.task == EXIT_OK

    @property
    def active(self) -> bool:
        return self.inventory.service.phase == "active"

    async def describe(self, node: str, **changes: Any) -> None:
        payload = as_json(a_description(node, **changes))
        await self.outside.append(f"penstock.v1.node.{node}.description", payload)

    async def beat(self, node: str) -> None:
        heard = self.inventory._heartbeats
        await self.outside.publish(f"penstock.v1.node.{node}.heartbeat", a_heartbeat(node))
        async with asyncio.timeout(5):
            while True:
                if self.inventory._heartbeats > heard:
                    return
                await asyncio.sleep(0)

    async def command(self, node: str, verb: str, payload: bytes = b"{}") -> Answer[NodeView]:
        subject = f"penstock.v1.command.node.{node}.{verb}"
        message = await self.outside.request(subject, payload, timeout_s=5)
        return msgspec.json.decode(message.payload, type=Answer[NodeView])

    async def query(self, what: str, kind: Any, payload: bytes = b"{}") -> Any:
        message = await self.outside.request(
            f"penstock.v1.query.inventory.{what}", payload, timeout_s=5
        )
        answer = msgspec.json.decode(message.payload, type=Answer[kind])
        return answer.refusal or answer.value

    def liveness(self, node: str) -> str | None:
        found = self.inventory.fleet.nodes.get(node)
        return found.liveness if found else None


@pytest.fixture
async def site(eventually: Eventually) -> AsyncIterator[Site]:
    broker = MemoryBroker(time.time_ns)
    outside = await memory.connect(broker, name="outside")
    await outside.ensure_streams(STREAMS)
    await outside.ensure_buckets(BUCKETS)
    await outside.ensure_buckets(OBJECT_BUCKETS, objects=True)
    site = Site(broker, outside)
    await site.start()
    await eventually(lambda: site.active)
    yield site
    await site.end()


async def test_a_described_node_is_listed_and_shown(site: Site, eventually: Eventually) -> None:
    await site.describe("n2")
    await site.describe("n1")
    await eventually(lambda: site.liveness("n1"))
    await site.beat("n1")
    site.clock.advance(SECOND // 2)
    listed = await site.query("nodes", NodesView)
    assert [view.description.node for view in listed.nodes] == ["n1", "n2"]
    assert listed.seq == site.inventory.service.last_seq and not listed.more
    shown = await site.query("node", NodeView, b'{"node":"n1"}')
    assert shown.description == a_description("n1")
    assert shown.seen_age_ms == 500 and shown.schedulable
    assert listed.nodes[1].seen_age_ms is None, "n2 was never heard: unknown, not 0"
    report = await site.query("audit", InventoryAudit)
    assert (report.nodes, report.devices, report.findings) == (2, 2, ())


async def test_more_nodes_than_a_message_holds_come_in_pages(
    site: Site, eventually: Eventually
) -> None:
    devices = tuple(Device(uuid=f"{n:090d}", index=n, model="m" * 200) for n in range(100))
    names = [f"n{number:03d}" for number in range(40)]
    for name in names:
        await site.describe(name, devices=devices)
    await eventually(lambda: len(site.inventory.fleet.nodes) == len(names))
    found, after = [], ""
    for _ in range(10):
        page = await site.query("nodes", NodesView, msgspec.json.encode({"after": after}))
        assert len(msgspec.json.encode(page)) <= PAGE_BYTES_MAX + 1000
        found += [view.description.node for view in page.nodes]
        after = found[-1]
        if not page.more:
            break
    assert found == names


async def test_bad_questions_are_refused(site: Site) -> None:
    for what, payload, code in (
        ("node", b'{"node":"nobody"}', "unknown_node"),
        ("node", b'{"node":5}', "invalid_field"),
        ("node", b"{", "malformed_json"),
        ("nodes", b"rubbish", "malformed_json"),
    ):
        assert (await site.query(what, NodesView, payload)).code == code


async def test_silence_makes_a_node_suspect_then_lost_and_two_heartbeats_bring_it_back(
    site: Site, eventually: Eventually
) -> None:
    await site.describe("n1")
    await site.describe("n2")
    await eventually(lambda: site.liveness("n2"))

    async def pass_time(seconds: int) -> None:
        for _ in range(seconds * 2):
            site.clock.advance(SECOND // 2)
            site.inventory.judge()
        await eventually(lambda: not site.inventory.service._engine.offers)

    await site.beat("n1")
    await pass_time(3)
    await eventually(lambda: site.liveness("n1") == "suspect")
    await pass_time(7)
    await eventually(lambda: site.liveness("n1") == "lost")
    await site.beat("n1")
    await pass_time(1)
    assert site.liveness("n1") == "lost"
    await site.beat("n1")
    await pass_time(1)
    await eventually(lambda: site.liveness("n1") == "alive")


@pytest.mark.lesson(12)
async def test_an_inventory_that_could_not_hear_does_not_blame_the_nodes(
    site: Site, eventually: Eventually
) -> None:
    await site.describe("n1")
    await eventually(lambda: site.liveness("n1"))
    site.clock.advance(60 * SECOND)  # as after a SIGSTOP
    site.inventory.judge()
    assert site.liveness("n1") == "alive"
    site.broker.crash()
    for _ in range(100):
        site.clock.advance(SECOND // 2)
        site.inventory.judge()
    site.broker.start()
    await eventually(lambda: site.inventory.service.why_not_ready() is None)
    assert site.liveness("n1") == "alive"


async def test_commands_are_answered_once_they_are_committed(
    site: Site, eventually: Eventually
) -> None:
    await site.describe("n1")
    await eventually(lambda: site.liveness("n1"))
    answer = await site.command("n1", "cordon", b'{"reason":"fan"}')
    assert answer.value is not None and answer.value.cordoned and answer.value.reason == "fan"
    before = site.inventory.service.last_seq
    again = await site.command("n1", "cordon")
    assert again.value == answer.value
    assert site.inventory.service.last_seq == before, "a repeat writes nothing"
    answer = await site.command("n1", "drain", b'{"deadline_s":60}')
    assert answer.value is not None and answer.value.draining
    answer = await site.command("n1", "uncordon")
    assert answer.value is not None and answer.value.schedulable
    for node, verb, payload, code in (
        ("n1", "remove", b"{}", "node_alive"),
        ("ghost", "cordon", b"{}", "unknown_node"),
        ("n1", "explode", b"{}", "unknown_verb"),
        ("n1", "cordon", b"{", "malformed_json"),
        ("n1", "drain", b'{"deadline_s":"soon"}', "invalid_field"),
    ):
        refused = await site.command(node, verb, payload)
        assert refused.refusal is not None and refused.refusal.code == code


async def test_a_restart_keeps_the_fleet_and_gives_every_node_a_fresh_grace(
    site: Site, eventually: Eventually
) -> None:
    await site.describe("n1")
    await eventually(lambda: site.liveness("n1"))
    await site.command("n1", "cordon")
    await site.end()
    site.clock.advance(3600 * SECOND)
    await site.start()
    await eventually(lambda: site.active)
    site.inventory.judge()
    node = site.inventory.fleet.nodes["n1"]
    assert (node.liveness, node.cordoned) == ("alive", True)
    assert site.inventory.service.term == 2
