"""How do hosts join a world, and how are they put out of it and come back?

An operator who invites and removes, hosts that ask with what they were given, thieves who ask with
it too: each until it is answered. It does not know how inventory decides.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec

from penstock_bus.memory import connect
from penstock_bus.port import Outage
from penstock_client.client import Client
from penstock_client.failures import Refused, Unavailable
from penstock_contracts.ids import ROOT
from penstock_contracts.joining import Admission, ApproveNode, Invitation, InviteNode, JoinRequest
from penstock_contracts.nodes import NodeCommand
from penstock_contracts.queries import Answer
from tests.simulation.broker import ObservedBroker
from tests.simulation.host import SimulatedHost
from tests.simulation.kernel import Kernel

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
KEY_LETTERS = 55
ANSWER_S = 5.0
AGAIN_S = 3.0
RENEW_S = 400.0
TTL_S = (15, 120, 900)
TRIES_MAX = 200
OPERATOR = "operator"
THIEF = "thief"

PASSING = ("unavailable",)
"""Refusals that another try may not meet."""


class Guest:
    """A host that is no node until it has joined. `key`: the public half of its own."""

    def __init__(self, world: Any, host: SimulatedHost, seed: int) -> None:
        self.host, self.key = host, ""
        self.joined = self._must_remove = False
        host.outside = True
        self._kernel: Kernel = world.kernel
        self._broker: ObservedBroker = world.broker
        self._rng = random.Random(seed)

    def come(self) -> None:
        """Its operator invites it, and it asks."""
        self._kernel.spawn(OPERATOR, self._be_let_in)

    def put_out(self) -> None:
        """Removed by an operator who has pulled its plug. It comes again with an empty disk, by the
        name of its old key first."""
        self.joined, self._must_remove, self.host.outside = False, True, True
        self.host.lose_disk()
        self._kernel.spawn(OPERATOR, self._be_let_in)

    # -- what the operator does ----------------------------------------------------------------
    async def _remove(self) -> None:
        """Until the node is forgotten: one that seemed alive is removed twice."""
        for _ in range(TRIES_MAX):
            bus = await self._reach(OPERATOR)
            try:
                await Client(bus).command_node(self.host.name, "remove", NodeCommand())
            except Refused:
                break
            except (Outage, Unavailable):
                pass
            finally:
                await bus.close()
            await asyncio.sleep(AGAIN_S)

    async def _be_let_in(self) -> int:
        """A new invitation whenever the last was of no use."""
        keys = [self.key] if self.key else []
        while not self.joined:
            await asyncio.sleep(AGAIN_S)
            if self._must_remove:
                await self._remove()
            invite = self._draw_key()
            ttl_s, approved = self._rng.choice(TTL_S), self._rng.random() < 0.7
            wish = InviteNode(
                key=invite, ttl_s=ttl_s, approved=approved,
                node=self._rng.choice(("", self.host.name)),
            )  # fmt: skip
            made = await self._ask(OPERATOR, "command.invite.create", wish, Invitation)
            if made is None:
                continue
            if self._rng.random() < 0.3:
                self._kernel.spawn(THIEF, self._find_forgotten)
            if self._rng.random() < 0.4:
                self._kernel.spawn(THIEF, lambda invite=invite: self._steal(invite))
            keys = keys or [self._draw_key()]
            self.joined = await self._join(invite, keys.pop(0), approved)
            # A thief may have its name, or a description under way may have brought it back.
            self._must_remove = True
        self.host.outside = False
        self.host.boot()
        self._kernel.spawn(self.host.name, self._renew)
        return 0

    # -- what hosts do -------------------------------------------------------------------------
    async def _join(self, invite: str, key: str, approved: bool) -> bool:
        subject = f"provision.{invite}.join"
        request = JoinRequest(key=key, node=self.host.name)
        for _ in range(TRIES_MAX):
            given = await self._ask(f"{self.host.name}-asks", subject, request, Admission)
            if given is None:
                return False
            if not given.waiting:
                self.key = key
                self._broker.keys[self.host.name] = key
                self._broker.heal(self.host.name)
                return given.node == self.host.name
            if not approved:
                approved = True
                wish = ApproveNode(self.host.name)
                await self._ask(OPERATOR, "command.invite.approve", wish, Invitation)
        return False

    async def _steal(self, invite: str) -> int:
        """Somebody has seen the token, and is quicker, or not."""
        await asyncio.sleep(self._rng.choice((0.0, 0.01, 1.0, 30.0)))
        name = self._rng.choice((THIEF, self.host.name))
        request = JoinRequest(key=self._draw_key(), node=f"{name}-{self._rng.randrange(10**6)}")
        await self._ask(THIEF, f"provision.{invite}.join", request, Admission)
        return 0

    async def _find_forgotten(self) -> int:
        """An invitation that nobody has used lies about until it has run out."""
        invite, ttl_s = self._draw_key(), TTL_S[0]
        wish = InviteNode(key=invite, ttl_s=ttl_s, approved=True)
        if await self._ask(OPERATOR, "command.invite.create", wish, Invitation) is not None:
            await asyncio.sleep(ttl_s)
            await self._steal(invite)
        return 0

    async def _renew(self) -> int:
        key = self.key
        while self.joined and self.key == key:
            await asyncio.sleep(RENEW_S)
            await self._ask(self.host.name, f"provision.{key}.renew", None, Admission)
        return 0

    # -- in general ----------------------------------------------------------------------------
    async def _ask(self, who: str, subject: str, wish: object, kind: type[Any]) -> Any:
        """Until it is answered; None: it is refused."""
        decode: Callable[[bytes], Any] = msgspec.json.Decoder(Answer[kind]).decode
        for _ in range(TRIES_MAX):
            bus = await self._reach(who)
            try:
                payload = msgspec.json.encode(wish)
                reply = await bus.request(f"{ROOT}.{subject}", payload, timeout_s=ANSWER_S)
                answer = decode(reply.payload)
            except Outage:
                answer = None
            finally:
                await bus.close()
            if answer is not None and answer.refusal is None:
                return answer.value
            if answer is not None and answer.refusal.code not in PASSING:
                return None
            await asyncio.sleep(AGAIN_S)
        return None

    async def _reach(self, who: str) -> Any:
        while True:
            try:
                return await connect(self._broker, name=who)
            except Outage:
                await asyncio.sleep(AGAIN_S)

    def _draw_key(self) -> str:
        return "U" + "".join(self._rng.choice(LETTERS) for _ in range(KEY_LETTERS))
