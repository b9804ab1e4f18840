"""What can happen to the fleet, as inventory's core hears it?

Imperatives and observations, each decided once. It does not know where they come from.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.joining import InviteNode
from penstock_contracts.nodes import NodeDescription

CORDON = "cordon"
UNCORDON = "uncordon"
DRAIN = "drain"
FENCE = "fence"
REMOVE = "remove"
VERBS = (CORDON, UNCORDON, DRAIN, FENCE, REMOVE)


class Described(msgspec.Struct, frozen=True):
    """An agent says what its node is."""

    description: NodeDescription


class Silent(msgspec.Struct, frozen=True):
    """No heartbeat for so long that the node should be held for `liveness` (suspect or lost)."""

    node: str
    liveness: str
    silent_ms: int


class Returned(msgspec.Struct, frozen=True):
    """A node that was held for suspect or lost sends heartbeats steadily again."""

    node: str


class Doubted(msgspec.Struct, frozen=True):
    """The journal has lost entries that others have read: they may hold something else."""


class Command(msgspec.Struct, frozen=True):
    """An operator's wish; `verb` is one of VERBS."""

    node: str
    verb: str
    reason: str = ""
    deadline_s: int | None = None


class Invite(msgspec.Struct, frozen=True):
    """An operator wants a host to join."""

    wish: InviteNode


class Ask(msgspec.Struct, frozen=True):
    """A host that holds the invitation `invite` wants to be `node`, by the name of `key`."""

    invite: str
    key: str
    node: str


class Approve(msgspec.Struct, frozen=True):
    """An operator lets the host join that waits to be `node`."""

    node: str
