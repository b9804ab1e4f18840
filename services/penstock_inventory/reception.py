"""How do hosts come in, and how are they put out?

Invitations, requests to join and renewals, answered once what they cause is committed; and the
broker is told of every revoked key until it has acknowledged it. What is granted is decided in
`core`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from penstock_bus.port import Bus, BusRefusal, Message, Outage
from penstock_contracts.errors import MALFORMED, Refusal
from penstock_contracts.ids import ROOT
from penstock_contracts.joining import (
    USER_KEY,
    Admission,
    ApproveNode,
    Invitation,
    InvitationsView,
    InviteNode,
    JoinRequest,
)
from penstock_contracts.queries import Answer
from penstock_inventory.authority import Authority
from penstock_inventory.core.events import Approve, Ask, Invite
from penstock_inventory.core.fleet import Fleet
from penstock_runtime.clock import Clock
from penstock_runtime.journaled import Committed, JournaledService

PUSH_RETRY_S = 0.5
PUSH_AGAIN_S = 3.0
"""A server that was away comes back with what it knew, and an instance that was frozen may say
something old: so the brokers are told again and again."""
KEY_AT = len(f"{ROOT}.provision.")
KEY_LETTERS = 56

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_decode_invite = msgspec.json.Decoder(InviteNode).decode
_decode_approve = msgspec.json.Decoder(ApproveNode).decode
_decode_join = msgspec.json.Decoder(JoinRequest).decode

OFF = Refusal("joining_off", "This inventory has no keys to sign with: set its `authority`.")
BUSY = Refusal("unavailable", "Inventory takes no requests now; try again.")


class Reception:
    """Of one instance. `authority` None: nobody can join."""

    def __init__(
        self,
        service: JournaledService,
        bus: Bus,
        clock: Clock,
        authority: Authority | None,
        fleet: Callable[[], Fleet],
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._service, self._bus, self._clock = service, bus, clock
        self._authority, self._fleet = authority, fleet
        self._untold = asyncio.Event()
        service.listen(f"{ROOT}.command.invite.create", self._invite)
        service.listen(f"{ROOT}.command.invite.approve", self._approve)
        service.listen(f"{ROOT}.provision.*.join", self._join)
        service.answer(f"{ROOT}.provision.*.renew", self._renew)
        service.answer(f"{ROOT}.query.inventory.invitations", lambda _: self._invitations())
        bus.on_reconnect(self._reconnected)

    def tell_revoked(self) -> None:
        """The broker is to hear of what is committed now."""
        self._untold.set()

    async def keep(self) -> None:
        """Tells the broker who is nobody any more, until cancelled."""
        if self._authority is None:
            return
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._untold.wait(), PUSH_AGAIN_S)
                if self._service.phase == "active":
                    await self._tell(self._authority)
                else:
                    self._untold.clear()  # set anew when we take over
        finally:
            await self._authority.close()

    async def _tell(self, authority: Authority) -> None:
        self._untold.clear()
        keys = self._fleet().members.revocations()
        try:
            await authority.revoke(keys)
        except (Outage, BusRefusal) as error:
            self.counters["revocations_delayed"] += 1
            log.warning("the broker does not know yet who is revoked: %s", error)
            self._untold.set()
            await asyncio.sleep(PUSH_RETRY_S)
            return
        self.counters["revocations_told"] += 1

    async def _reconnected(self) -> None:
        self._untold.set()

    # -- what operators want -----------------------------------------------------------------------
    def _invite(self, message: Message) -> None:
        wish = _decoded(_decode_invite, message)
        authority = self._authority
        if isinstance(wish, Refusal) or authority is None:
            self._refuse(message, wish if isinstance(wish, Refusal) else OFF)
            return

        def granted() -> bytes | None:
            made = self._fleet().members.invitation(wish.key)
            if made is None:
                return None
            claims = authority.invite(wish.key, -(-made.expires_ms // 1_000))
            return _accept(msgspec.structs.replace(made, claims=claims))

        self._decide(message, Invite(wish), granted)

    def _approve(self, message: Message) -> None:
        wish = _decoded(_decode_approve, message)
        if isinstance(wish, Refusal):
            self._refuse(message, wish)
            return

        def granted() -> bytes | None:
            made = self._fleet().members.invitation_for(wish.node)
            return None if made is None else _accept(made)

        self._decide(message, Approve(wish.node), granted)

    def _invitations(self) -> bytes:
        return _encode(
            Answer(value=InvitationsView(invitations=self._fleet().members.invitations()))
        )

    # -- what hosts want ---------------------------------------------------------------------------
    def _join(self, message: Message) -> None:
        invite = _key_of(message)
        wish = _decoded(_decode_join, message)
        if isinstance(wish, Refusal) or invite is None or self._authority is None:
            self._refuse(message, wish if isinstance(wish, Refusal) else OFF)
            return

        def granted() -> bytes | None:
            members = self._fleet().members
            if members.waits(invite, wish.key):
                return _accept(Admission(waiting=True))
            node = members.node_of(wish.key)
            return None if node is None else _accept(self._admission(wish.key, node))

        self._decide(message, Ask(invite, wish.key, wish.node), granted)

    def _renew(self, message: Message) -> bytes:
        key = _key_of(message)
        members = self._fleet().members
        node = None if key is None else members.node_of(key)
        if key is None or self._authority is None:
            return _refused(OFF)
        if node is None:
            return _refused(members.refusal_of_key(key))
        return _accept(self._admission(key, node))

    def _admission(self, key: str, node: str) -> Admission:
        if self._authority is None:
            return Admission(waiting=True)
        claims, return_claims, expires_s = self._authority.admit(key, node)
        labels = self._fleet().members.members[node].labels
        return Admission(
            node=node,
            claims=claims,
            return_claims=return_claims,
            expires_s=expires_s,
            labels=labels,
        )

    # -- in general --------------------------------------------------------------------------------
    def _decide(
        self, message: Message, event: Invite | Ask | Approve, granted: Callable[[], bytes | None]
    ) -> None:
        """Answers once what follows is committed: by what `granted` makes of it, else why not."""

        def answer(entry: Committed | None) -> None:
            fleet = self._fleet()
            refusal = None
            if entry is None:
                refusal = fleet.members.refusal_of(event, fleet.nodes, self._clock.now_ns())
            answered = None if refusal is not None else granted()
            self._bus.respond_nowait(message, answered or _refused(refusal or BUSY))

        if not self._service.submit_nowait(event, answer):
            self._refuse(message, BUSY)

    def _refuse(self, message: Message, refusal: Refusal) -> None:
        self._bus.respond_nowait(message, _refused(refusal))


def _key_of(message: Message) -> str | None:
    """Whose key stands in the subject, where the broker has checked it."""
    key = message.subject[KEY_AT : KEY_AT + KEY_LETTERS]
    return key if USER_KEY.fullmatch(key) else None


def _decoded(decode: Callable[[bytes], Any], message: Message) -> Any:
    try:
        return decode(message.payload)
    except msgspec.ValidationError as error:
        return Refusal("invalid_field", str(error))
    except MALFORMED as error:
        return Refusal("malformed_json", f"The payload is not JSON: {error}")


def _accept(value: Invitation | Admission) -> bytes:
    return _encode(Answer(value=value))


def _refused(refusal: Refusal) -> bytes:
    return _encode(Answer[None](refusal=refusal))
