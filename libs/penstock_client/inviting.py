"""How is a host invited to become a node?

Makes the invitation's key pair here, has inventory vouch for its public half, and packs the private
half into a token with the broker's address and certificate. The mesh never sees the private half.
"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit, urlunsplit

import msgspec

from penstock_bus.join_token import JoinToken, encode
from penstock_bus.nkey import KeyPair, KeyType
from penstock_bus.pinning import fingerprint
from penstock_client.client import Client
from penstock_client.failures import refuse
from penstock_client.questions import QUERY_TIMEOUT_S, ask, ask_on
from penstock_client.subjects import subject_of
from penstock_contracts.joining import ApproveNode, Invitation, InvitationsView, InviteNode
from penstock_contracts.queries import Empty

WILDCARD = "localhost"
"""What processes beside a broker call it that listens on all addresses."""
ELSEWHERE = ("192.0.2.1", 9)
"""No host has this address (RFC 5737); nothing is sent to it."""


async def invite(client: Client, url: str, wish: InviteNode) -> tuple[str, Invitation]:
    """A token for a broker at `url`, and what inventory has noted. `wish.key` is drawn here.

    Raises Refused, Unavailable.
    """
    certificate: bytes | None = getattr(client.bus, "peer_certificate", None)
    if certificate is None:
        raise refuse(
            "no_tls",
            f"{url} speaks no TLS, and hosts join over TLS only: start the mesh with "
            "`penstock up --listen ADDRESS`",
        )
    pair = KeyPair.generate(KeyType.USER)
    wish = msgspec.structs.replace(wish, key=pair.public)
    subject = subject_of("invite_node")
    made = await ask_on(client.bus, subject, "inventory", wish, Invitation, QUERY_TIMEOUT_S)
    token = JoinToken(reachable(url), fingerprint(certificate), made.claims, pair.seed)
    return encode(token), msgspec.structs.replace(made, claims="")


async def approve(client: Client, node: str) -> Invitation:
    """Lets the host in that waits to be `node`."""
    subject, wish = subject_of("approve_node"), ApproveNode(node)
    return await ask_on(client.bus, subject, "inventory", wish, Invitation, QUERY_TIMEOUT_S)


async def invitations(client: Client) -> tuple[Invitation, ...]:
    view = await ask(client.bus, "inventory", "invitations", Empty(), InvitationsView)
    return view.invitations


def reachable(url: str) -> str:
    """The broker's address as another host can use it: this machine's own instead of localhost."""
    return ",".join(_reachable(one.strip()) for one in url.split(","))


def _reachable(url: str) -> str:
    place = urlsplit(url)
    if place.hostname != WILDCARD:
        return url
    port = "" if place.port is None else f":{place.port}"
    return urlunsplit(place._replace(netloc=f"{own_address()}{port}"))


def own_address() -> str:
    """By which this machine is seen from outside; its name where it has no way out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(ELSEWHERE)
        except OSError:
            return socket.gethostname()
        address: str = probe.getsockname()[0]
    return address
