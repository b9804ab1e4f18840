"""Does inventory answer hosts and operators as its core decides, and tell the broker who is out?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from conftest import Eventually
from inventory.authority import Claims, WordyAuthority
from inventory.builders import a_description, as_json
from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_contracts.errors import CODES
from penstock_contracts.joining import Admission, Invitation, InvitationsView, InviteNode
from penstock_contracts.nodes import NodeView
from penstock_contracts.queries import Answer
from penstock_contracts.streams import BUCKETS, OBJECT_BUCKETS, STREAMS
from penstock_inventory.service import Inventory
from penstock_runtime.clock import SystemClock
from penstock_runtime.process import EXIT_OK, StopSignal

INVITE, HOST, OTHER = ("U" + letter * 55 for letter in "ABC")


class Gate:
    """An inventory with keys over the in-memory broker, and a bus beside it."""

    def __init__(self, broker: MemoryBroker, outside: memory.MemoryBus, keys: bool) -> None:
        self.outside = outside
        self.claims = Claims()
        self._broker, self._keys = broker, keys
        self.inventory: Inventory
        self._stop: StopSignal
        self._task: asyncio.Task[int]

    async def start(self, eventually: Eventually) -> None:
        bus = await memory.connect(self._broker, name="inventory")
        self.authority = WordyAuthority(self.claims, lambda: 1_000)
        self.inventory = Inventory(
            bus, clock=SystemClock(), authority=self.authority if self._keys else None
        )
        self._stop = StopSignal()
        self._task = asyncio.create_task(self.inventory.run(self._stop))
        await eventually(lambda: self.inventory.service.phase == "active")

    async def end(self) -> None:
        self._stop.request("the test is over")
        assert await self._task == EXIT_OK

    async def ask(self, subject: str, wish: Any, kind: Any) -> Any:
        payload = wish if isinstance(wish, bytes) else msgspec.json.encode(wish)
        reply = await self.outside.request(f"penstock.v1.{subject}", payload, timeout_s=5)
        answer = msgspec.json.decode(reply.payload, type=Answer[kind])
        return answer.value if answer.refusal is None else answer.refusal.code

    async def invite(self, **wishes: Any) -> Any:
        return await self.ask("command.invite.create", InviteNode(key=INVITE, **wishes), Invitation)

    async def join(self, key: str = HOST, node: str = "n1") -> Any:
        wish = {"key": key, "node": node}
        return await self.ask(f"provision.{INVITE}.join", wish, Admission)

    async def renew(self, key: str) -> Any:
        return await self.ask(f"provision.{key}.renew", b"{}", Admission)

    async def remove(self, node: str = "n1") -> Any:
        return await self.ask(f"command.node.{node}.remove", b"{}", NodeView)


async def a_gate(eventually: Eventually, keys: bool) -> Gate:
    broker = MemoryBroker(time.time_ns)
    outside = await memory.connect(broker, name="outside")
    await outside.ensure_streams(STREAMS)
    await outside.ensure_buckets(BUCKETS)
    await outside.ensure_buckets(OBJECT_BUCKETS, objects=True)
    gate = Gate(broker, outside, keys)
    await gate.start(eventually)
    return gate


@pytest.fixture
async def gate(eventually: Eventually) -> AsyncIterator[Gate]:
    made = await a_gate(eventually, keys=True)
    yield made
    await made.end()


async def test_a_host_is_invited_let_in_and_gets_its_next_claims(gate: Gate) -> None:
    invited = await gate.invite(site="rome")
    assert invited.state == "open" and INVITE in invited.claims
    given = await gate.join()
    assert (given.node, given.labels, given.waiting) == ("n1", {"site": "rome"}, False)
    assert given.claims.startswith(f"node n1 {HOST}")
    assert (await gate.join()).node == "n1", "asked again"
    renewed = await gate.renew(HOST)
    assert (renewed.node, renewed.expires_s) == ("n1", 87_400)
    view = await gate.ask("query.inventory.invitations", b"{}", InvitationsView)
    assert [(one.key, one.state, one.claims) for one in view.invitations] == [(INVITE, "used", "")]


async def test_refusals_are_answered_with_their_codes(gate: Gate) -> None:
    codes = [
        await gate.join(),
        await gate.renew(HOST),
        await gate.ask("command.invite.create", b"{", Invitation),
        await gate.ask("command.invite.create", {"key": "UNICORN"}, Invitation),
        await gate.ask("command.invite.approve", {"node": "nobody"}, Invitation),
        await gate.ask(f"provision.{INVITE}.join", {"key": HOST, "node": "a.b"}, Admission),
        await gate.ask(f"provision.{INVITE}.join", b'{"x":' + b"[" * 100_000, Admission),
    ]
    assert codes == [
        *("invitation_unknown", "key_unknown", "malformed_json", "invalid_field"),
        *("nobody_waits", "invalid_field", "malformed_json"),
    ]
    assert set(codes) <= set(CODES)


async def test_a_host_waits_for_approval(gate: Gate) -> None:
    await gate.invite(approved=False)
    assert (await gate.join()).waiting
    made = await gate.ask("command.invite.approve", {"node": "n1"}, Invitation)
    assert (made.state, made.host_key) == ("used", HOST)
    assert (await gate.join()).node == "n1"


async def test_an_inventory_without_keys_lets_nobody_in(eventually: Eventually) -> None:
    gate = await a_gate(eventually, keys=False)
    assert await gate.invite() == "joining_off"
    assert await gate.join() == "joining_off"
    assert await gate.renew(HOST) == "joining_off"
    await gate.end()


async def test_the_broker_is_told_until_it_has_heard_who_is_out(
    gate: Gate, eventually: Eventually
) -> None:
    await gate.invite()
    await gate.join()
    gate.claims.away = True
    await gate.remove()
    counters = gate.inventory.reception.counters
    await eventually(lambda: counters["revocations_delayed"] >= 1)
    assert gate.claims.revoked == frozenset()
    gate.claims.away = False
    await eventually(lambda: gate.claims.revoked == {HOST})
    assert await gate.renew(HOST) == "key_revoked"


async def test_whoever_takes_over_tells_the_broker_again(
    gate: Gate, eventually: Eventually
) -> None:
    await gate.invite()
    await gate.join()
    await gate.remove()
    await eventually(lambda: gate.claims.revoked == {HOST})
    await gate.end()
    assert gate.authority.closed
    gate.claims.revoked = frozenset()
    await gate.start(eventually)
    await eventually(lambda: gate.claims.revoked == {HOST})


async def test_a_node_that_is_alive_is_put_out_first_and_forgotten_when_that_is_said_again(
    gate: Gate, eventually: Eventually
) -> None:
    await gate.invite()
    await gate.join()
    await gate.outside.append("penstock.v1.node.n1.description", as_json(a_description("n1")))
    await eventually(lambda: "n1" in gate.inventory.fleet.nodes)
    out = await gate.remove()
    assert (out.revoked, out.schedulable, out.liveness) == (True, False, "lost")
    await eventually(lambda: gate.claims.revoked == {HOST})
    gone = await gate.remove()
    assert (gone.revoked, gone.key) == (False, "")
    assert await gate.remove() == "unknown_node"
