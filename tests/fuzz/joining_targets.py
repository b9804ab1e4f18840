"""What do invitations, requests to join and renewals of any kind do to inventory?

The real reception over the real core, with words for claims. Also demanded: nobody is let in whose
key does not stand in the subject of an invitation, and no key is two nodes. It does not know the
bus.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec

from fuzz.inventory_targets import InventoryTarget
from fuzz.link_targets import check_answer
from fuzz.mutation import Given
from fuzz.runner import Violation
from inventory.authority import Claims, WordyAuthority
from inventory.builders import NOW_NS
from penstock_bus.port import Message
from penstock_contracts.ids import ROOT
from penstock_contracts.joining import InviteNode, JoinRequest, NodeAdmitted
from penstock_inventory.core.events import Ask, Invite
from penstock_inventory.reception import Reception

INVITES = tuple("U" + letter * 55 for letter in "ABC")
HOSTS = tuple("U" + letter * 55 for letter in "DEF")
NAMES = {
    f"{ROOT}.command.invite.create": "invite_node",
    f"{ROOT}.command.invite.approve": "approve_node",
    f"{ROOT}.query.inventory.invitations": "query_inventory_invitations",
}


class _Bus:
    """Keeps the answer."""

    def __init__(self) -> None:
        self.answer: bytes | None = None

    def on_reconnect(self, handler: Any) -> None: ...

    def respond_nowait(self, message: Message, payload: bytes) -> None:
        self.answer = payload


class Joining(InventoryTarget):
    """One invitation is open, one waits for approval, one is used."""

    name = "inventory joining"
    messages = ("invite_node", "approve_node", "join", "renew", "query_inventory_invitations")
    words: Sequence[str | int] = (*INVITES, *HOSTS, "n1", "n4", "site", "pool", 0, 10, 900, 604_800)

    def __init__(self) -> None:
        super().__init__()
        for number, invite in enumerate(INVITES):
            wish = InviteNode(key=invite, approved=number != 1)
            self.commit(Invite(wish))
        self.commit(Ask(INVITES[1], HOSTS[1], "n5"), Ask(INVITES[2], HOSTS[2], "n6"))
        self._prepared = self.fleet.snapshot()
        self.reset()

    def reset(self) -> None:
        super().reset()
        self._bus = _Bus()
        self._handlers: dict[str, Callable[[Message], Any]] = {}
        self._facts: list[Any] = []
        service: Any = SimpleNamespace(
            listen=self._handlers.__setitem__,
            answer=self._handlers.__setitem__,
            submit_nowait=self._submit,
        )
        clock: Any = SimpleNamespace(now_ns=lambda: NOW_NS)
        authority = WordyAuthority(Claims(), lambda: NOW_NS // 10**9)
        bus: Any = self._bus
        Reception(service, bus, clock, authority, lambda: self.fleet)

    def _submit(self, event: Any, on_done: Callable[[Any], None]) -> bool:
        self._facts = self.commit(event)
        on_done(object() if self._facts else None)
        return True

    def valid(self) -> Sequence[Given]:
        wishes = [
            InviteNode(key=HOSTS[0], node="n7", site="a", pool="p", ttl_s=60),
            InviteNode(key=INVITES[0]),
        ]
        asks = [
            (invite, JoinRequest(key=host, node=f"n{4 + number}"))
            for number, (invite, host) in enumerate(zip(INVITES, HOSTS, strict=True))
        ]
        encode = msgspec.json.encode
        return [
            *(Given(f"{ROOT}.command.invite.create", encode(wish)) for wish in wishes),
            Given(f"{ROOT}.command.invite.approve", encode({"node": "n5"})),
            *(Given(f"{ROOT}.provision.{invite}.join", encode(ask)) for invite, ask in asks),
            *(Given(f"{ROOT}.provision.{key}.renew", b"{}") for key in (*HOSTS, INVITES[0])),
            Given(f"{ROOT}.query.inventory.invitations", b"{}"),
        ]

    def give(self, given: Given) -> bool:
        tokens = given.subject.split(".")
        provision = len(tokens) == 5 and given.subject.startswith(f"{ROOT}.provision.")
        pattern = f"{ROOT}.provision.*.{tokens[-1]}" if provision else given.subject
        handler = self._handlers.get(pattern)
        if handler is None:
            return False
        self._bus.answer, self._facts = None, []
        message = Message(given.subject, given.payload, "_INBOX.x")
        answered = handler(message) or self._bus.answer
        if answered is None:
            raise Violation(f"no answer on {given.subject}")
        check_answer(NAMES.get(given.subject, tokens[-1]), answered)
        for fact in self._facts:
            if isinstance(fact, NodeAdmitted) and provision and fact.invite != tokens[3]:
                raise Violation(f"{tokens[3]} let somebody in by the invitation of {fact.invite}")
        keys = [member.key for member in self.fleet.members.members.values()]
        if len(set(keys)) != len(keys):
            raise Violation("one key is two nodes")
        return bool(self._facts)
