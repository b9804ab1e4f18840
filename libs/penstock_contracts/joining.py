"""How does a host become a node, and how does it stop being one?

Invitations, what a host asks for with one, what it gets, and the facts about both in the NODES
journal. Who somebody is, is a public key: it stands in the subject, where the broker has checked
it. It does not know how keys are made, nor how claims are signed.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from penstock_contracts.bounds import Label, Number
from penstock_contracts.ids import TOKEN

TTL_S_MIN = 10
TTL_S_MAX = 7 * 24 * 3600
TTL_S = 900
CREDENTIAL_S = 24 * 3600
"""How long a node's credential is good for; its agent asks for the next one in time."""
REVOKED_S = 7 * CREDENTIAL_S
"""How long a revoked key is held against its owner: no credential of it lives so long."""

POOL = "pool"
"""The label that says to which pool a node belongs."""

USER_KEY = re.compile(r"U[A-Z2-7]{55}")

UserKey = Annotated[str, Meta(pattern=rf"^(?:{USER_KEY.pattern})$(?!\n)")]
"""The public half of a key pair, as NATS writes it."""
NodeName = Annotated[str, Meta(pattern=rf"^(?:{TOKEN.pattern})?$(?!\n)")]
"""Empty = not said."""


class InviteNode(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Payload of `command.invite.create`. `key`: the public half of a pair that whoever invites has
    made; the private half, in the token, is the invitation. `node`: the only name that may join
    with it; empty = the host's own. `approved` false: somebody has to approve of whoever asks.
    """

    key: UserKey
    node: NodeName = ""
    site: Label = ""
    pool: Label = ""
    ttl_s: Annotated[int, Meta(ge=TTL_S_MIN, le=TTL_S_MAX)] = TTL_S
    approved: bool = True


class Invitation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An invitation as inventory shows it. `state`: open, waiting (for approval of `host_key`, who
    wants to be `node`) or used. `claims`: what lets its key in to ask, only when it was just made.
    """

    key: str
    state: str
    expires_ms: int
    node: str = ""
    site: str = ""
    pool: str = ""
    host_key: str = ""
    claims: str = ""


class InvitationsView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that are not forgotten, the newest last."""

    invitations: tuple[Invitation, ...] = ()


class ApproveNode(msgspec.Struct, frozen=True):
    """Payload of `command.invite.approve`: the host that waits to be `node` may join."""

    node: Annotated[str, Meta(pattern=rf"^(?:{TOKEN.pattern})$(?!\n)")]


class JoinRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of `provision.<key of the invitation>.join`: `key` wants to be `node`."""

    key: UserKey
    node: Annotated[str, Meta(pattern=rf"^(?:{TOKEN.pattern})$(?!\n)")]


class Admission(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who asked is `node`. `claims`: for its own subjects, until `expires_s` (Unix time); with
    `return_claims` it may ask for the next ones, also when these have run out. `waiting`: not yet,
    somebody has to approve; nothing else is set then.
    """

    node: str = ""
    claims: str = ""
    return_claims: str = ""
    expires_s: int = 0
    labels: dict[str, str] = {}
    waiting: bool = False


class NodeInvited(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="node_invited",
    tag_field="fact",
    omit_defaults=True,
):
    """Who holds the private half of `invite` may join, once, until then."""

    invite: str
    expires_ns: Number
    node: str = ""
    site: str = ""
    pool: str = ""
    approved: bool = True


class NodeAsked(msgspec.Struct, frozen=True, tag="node_asked", tag_field="fact"):
    """A host with `key` wants to be `node`, and waits for approval. No other may use the invitation
    any more."""

    node: str
    key: str
    invite: str


class NodeAdmitted(
    msgspec.Struct, frozen=True, tag="node_admitted", tag_field="fact", omit_defaults=True
):
    """Whoever holds the private half of `key` is `node`, and nobody else. `labels` are what the
    mesh says of it, whatever it says itself."""

    node: str
    key: str
    invite: str
    labels: dict[str, str] = {}


class NodeRevoked(msgspec.Struct, frozen=True, tag="node_revoked", tag_field="fact"):
    """`key` is nobody any more. What runs on the node is not known from here on."""

    node: str
    key: str


JoiningFact = NodeInvited | NodeAsked | NodeAdmitted | NodeRevoked
