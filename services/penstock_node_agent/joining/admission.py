"""How does a host become a node, with a token?

Knows the broker by its certificate before it says anything, makes its key here, asks in the name of
the invitation, and keeps what it is given. It does not know how an agent lives.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from penstock_bus.join_token import JoinToken, NoToken, decode
from penstock_bus.nats import NatsBus, connect
from penstock_bus.nkey import InvalidSeed, KeyPair
from penstock_bus.pinning import WrongCertificate, fetch_verified, trusting
from penstock_bus.port import BusRefusal, NoResponders, Outage
from penstock_contracts.errors import MALFORMED, Refusal
from penstock_contracts.ids import ROOT
from penstock_contracts.joining import Admission, JoinRequest
from penstock_contracts.queries import Answer
from penstock_contracts.roles import JOINER_INBOX_PREFIX
from penstock_node_agent.joining.membership import Membership, MembershipFiles

CONNECT_S = 10.0
ANSWER_S = 10.0
ASK_AGAIN_S = 1.0

_answer = msgspec.json.Decoder(Answer[Admission])


class NotAdmitted(Exception):
    """The host is no node, and repeating the same does not make it one."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.code}: {refusal.message}")
        self.refusal = refusal


async def join(text: str, node: str, files: MembershipFiles, say: Callable[[str], None]) -> str:
    """Become a node with the token `text`, as `node` unless the invitation says otherwise; returns
    the name.

    A token that this host has used already changes nothing. Raises NotAdmitted, Outage.
    """
    token, invitation = _read(text)
    member = files.load()
    if member is not None and member.invite == invitation.public:
        return member.node
    try:
        server = await fetch_verified(token.url, token.fingerprint)
    except WrongCertificate as error:
        raise NotAdmitted(Refusal("wrong_certificate", str(error))) from error
    key = files.key_for(invitation.public)
    files.write_invite(token.claims, invitation)
    try:
        bus = await _reach(token.url, files.invite_creds, invitation.public, trusting(server))
        try:
            given = await _ask(bus, invitation.public, key.public, node, say)
        finally:
            await bus.close()
    finally:
        files.end_asking()
    joined = Membership(
        node=given.node, url=token.url, invite=invitation.public, labels=given.labels
    )
    files.join(joined, key, given, server)
    return given.node


async def renew(member: Membership, files: MembershipFiles) -> None:
    """Have the next claims for this host's key on the disk. Raises NotAdmitted when it is no node
    any more, Outage."""
    key = files.key()
    context = trusting(files.certificate())
    bus = await _reach(member.url, files.return_creds, key.public, context)
    try:
        subject = f"{ROOT}.provision.{key.public}.renew"
        given = await _request(bus, subject, {})
    finally:
        await bus.close()
    files.renew(key, given)


def _read(text: str) -> tuple[JoinToken, KeyPair]:
    try:
        token = decode(text)
        return token, KeyPair.from_seed(token.seed)
    except (NoToken, InvalidSeed) as error:
        raise NotAdmitted(Refusal("invalid_field", str(error), "token")) from error


async def _reach(url: str, creds: Path, key: str, context: ssl.SSLContext) -> NatsBus:
    """Raises Outage, NotAdmitted."""
    try:
        return await connect(
            url,
            name="penstock-join",
            credentials=str(creds),
            inbox_prefix=JOINER_INBOX_PREFIX + key,
            tls=context,
            connect_timeout_s=CONNECT_S,
        )
    except BusRefusal as error:
        raise NotAdmitted(
            Refusal(
                "unauthorized",
                f"the broker at {url} does not let this host in to ask: the token has run out, or "
                "the mesh was made anew; ask for a new token",
            )
        ) from error


async def _ask(
    bus: NatsBus, invite: str, key: str, node: str, say: Callable[[str], None]
) -> Admission:
    """Asks until somebody has approved of this host, or the invitation has run out."""
    request = JoinRequest(key=key, node=node)
    said = False
    while True:
        given = await _request(bus, f"{ROOT}.provision.{invite}.join", request)
        if not given.waiting:
            return given
        if not said:
            say(f"waiting for approval of this host's key {key}: penstock node approve {node}")
            said = True
        await asyncio.sleep(ASK_AGAIN_S)


async def _request(bus: NatsBus, subject: str, payload: Any) -> Admission:
    try:
        reply = await bus.request(subject, msgspec.json.encode(payload), timeout_s=ANSWER_S)
        answer = _answer.decode(reply.payload)
    except NoResponders as error:
        raise Outage("the mesh's inventory is not there now") from error
    except MALFORMED as error:
        raise Outage(f"an answer that makes no sense: {error}") from error
    if answer.refusal is not None:
        if answer.refusal.code == "unavailable":
            raise Outage(answer.refusal.message)
        raise NotAdmitted(answer.refusal)
    if answer.value is None:
        raise Outage("an empty answer")
    return answer.value
