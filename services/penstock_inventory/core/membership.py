"""What is held of an invitation, and of a node's key?

Values only. It does not know how they change.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.asks import SITE
from penstock_contracts.joining import POOL, Invitation

OPEN, WAITING, USED = "open", "waiting", "used"


class Invited(msgspec.Struct, frozen=True, kw_only=True):
    """`host_key` wants to be `host_node`, or is it, once `used`."""

    expires_ns: int
    node: str = ""
    site: str = ""
    pool: str = ""
    approved: bool = True
    host_node: str = ""
    host_key: str = ""
    used: bool = False

    @property
    def state(self) -> str:
        return USED if self.used else WAITING if self.host_key else OPEN

    @property
    def labels(self) -> dict[str, str]:
        said = {SITE: self.site, POOL: self.pool}
        return {label: value for label, value in said.items() if value}


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """Who a node is, by which invitation, and what the mesh says of it."""

    key: str
    invite: str
    labels: dict[str, str] = {}
    revoked: bool = False


class MembersImage(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `revoked`: key → Unix time."""

    invites: dict[str, Invited] = {}
    members: dict[str, Member] = {}
    revoked: dict[str, int] = {}


def view(key: str, invited: Invited) -> Invitation:
    """As it is shown."""
    return Invitation(
        key=key,
        state=invited.state,
        expires_ms=invited.expires_ns // 1_000_000,
        node=invited.host_node or invited.node,
        site=invited.site,
        pool=invited.pool,
        host_key=invited.host_key,
    )
