"""Who may be a node: which hosts are invited, which keys are admitted, which are nobody any more?

Part of the state behind the NODES journal. A host is its key: a name belongs to one key, and an
invitation lets one key in, once. It does not know what nodes are or do, nor how claims are signed.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import msgspec

from penstock_contracts.errors import InvariantError, Refusal
from penstock_contracts.joining import (
    REVOKED_S,
    Invitation,
    JoiningFact,
    NodeAdmitted,
    NodeAsked,
    NodeInvited,
    NodeRevoked,
)
from penstock_inventory.core.events import Approve, Ask, Invite
from penstock_inventory.core.membership import WAITING, Invited, Member, MembersImage, view

NANOSECONDS = 1_000_000_000
INVITES_MAX = 1_000
"""Open ones; who needs more lets some of them be used."""
FORGET_NS = 3_600 * NANOSECONDS
"""An invitation that ran out is remembered so long, for whoever comes too late."""

_replace = msgspec.structs.replace


class Members:
    """Changed by `apply` and `remove` only. `members` is by node, `invites` by key."""

    def __init__(self, image: MembersImage | None = None) -> None:
        """Takes over what the image holds."""
        image = image or MembersImage()
        self.invites = dict(image.invites)
        self.members = dict(image.members)
        self.revoked = dict(image.revoked)
        self._node_of = {member.key: name for name, member in self.members.items()}

    def image(self) -> MembersImage:
        return MembersImage(invites=self.invites, members=self.members, revoked=self.revoked)

    # -- deciding ----------------------------------------------------------------------------------
    def decide(
        self, event: Invite | Ask | Approve, nodes: Container[str], now_ns: int
    ) -> Sequence[JoiningFact]:
        """The facts that follow; none from what is refused or was so already. `nodes`: names that
        are nodes now."""
        if self.refusal_of(event, nodes, now_ns) is not None:
            return ()
        if isinstance(event, Invite):
            return self._invite(event, now_ns)
        if isinstance(event, Ask):
            return self._ask(event)
        key, invited = self._waiting(event.node)
        return () if invited.used else (_admitted(key, invited),)

    def refusal_of(
        self, event: Invite | Ask | Approve, nodes: Container[str], now_ns: int
    ) -> Refusal | None:
        """Why it cannot be, or not any more. What was granted is not refused when asked again."""
        if isinstance(event, Invite):
            return self._refusal_of_invite(event, now_ns)
        if isinstance(event, Ask):
            return self._refusal_of_ask(event, nodes, now_ns)
        _, invited = self._waiting(event.node)
        if not invited.host_key:
            return Refusal("nobody_waits", f"No host waits to be {event.node}.", "node")
        if invited.used:
            return None
        if invited.host_key in self._node_of or invited.host_key in self.revoked:
            return Refusal("key_known", "The host has become another node meanwhile.")
        if event.node in nodes:
            return Refusal("name_taken", f"Another host has become {event.node} meanwhile.", "node")
        return _expired(invited, now_ns)

    def _invite(self, event: Invite, now_ns: int) -> Sequence[JoiningFact]:
        wish = event.wish
        if wish.key in self.invites:
            return ()
        fact = NodeInvited(
            invite=wish.key,
            expires_ns=now_ns + wish.ttl_s * NANOSECONDS,
            node=wish.node,
            site=wish.site,
            pool=wish.pool,
            approved=wish.approved,
        )
        return (fact,)

    def _refusal_of_invite(self, event: Invite, now_ns: int) -> Refusal | None:
        wish = event.wish
        if wish.key in self.invites:
            return None
        if wish.key in self._node_of or wish.key in self.revoked:
            return Refusal("key_known", "The key is a node's; make another for the invitation.")
        if sum(one.expires_ns > now_ns for one in self.invites.values()) >= INVITES_MAX:
            said = f"{INVITES_MAX} invitations are open; let some run out."
            return Refusal("too_many_invitations", said)
        return None

    def _ask(self, event: Ask) -> Sequence[JoiningFact]:
        invited = self.invites[event.invite]
        if invited.host_key == event.key:
            return ()  # it asks again: it waits, or the answer was lost
        taken = _replace(invited, host_key=event.key, host_node=invited.node or event.node)
        if invited.approved:
            return (_admitted(event.invite, taken),)
        return (NodeAsked(taken.host_node, event.key, event.invite),)

    def _refusal_of_ask(self, ask: Ask, nodes: Container[str], now_ns: int) -> Refusal | None:
        invited = self.invites.get(ask.invite)
        if ask.key in self.revoked:
            return Refusal("key_revoked", "This host's key was revoked; it needs another.")
        if invited is None:
            return Refusal("invitation_unknown", "There is no such invitation (any more).")
        if invited.host_key == ask.key:
            return None if invited.used else _expired(invited, now_ns)
        if invited.host_key:
            return Refusal(
                "invitation_used",
                f"This invitation has let in another host, as {invited.host_node}.",
            )
        if ask.key in self._node_of or ask.key in self.invites:
            return Refusal("key_known", "This host's key is a node's already; make another.")
        name = invited.node or ask.node
        waiting = self._waiting(name)[1]
        if name in nodes or name in self.members or waiting.expires_ns > now_ns:
            return Refusal(
                "name_taken",
                f"Another host is {name}, or waits to be: choose another name (--node), or remove "
                "that one first.",
                "node",
            )
        return _expired(invited, now_ns)

    def _waiting(self, node: str) -> tuple[str, Invited]:
        """The newest invitation with which a host asked to be `node`; one without a host if
        none."""
        for key in reversed(self.invites):
            invited = self.invites[key]
            if invited.host_node == node and (not invited.used or node in self.members):
                return key, invited
        return "", Invited(expires_ns=0)

    # -- folding -----------------------------------------------------------------------------------
    def apply(self, fact: JoiningFact, now_ns: int) -> None:
        """Fold one fact."""
        if isinstance(fact, NodeInvited):
            self._forget_invites(now_ns)
            self.invites[fact.invite] = Invited(
                expires_ns=fact.expires_ns,
                node=fact.node,
                site=fact.site,
                pool=fact.pool,
                approved=fact.approved,
            )
        elif isinstance(fact, NodeAsked):
            self._take(fact.invite, fact.node, fact.key, used=False)
        elif isinstance(fact, NodeAdmitted):
            self._take(fact.invite, fact.node, fact.key, used=True)
            self.members[fact.node] = Member(key=fact.key, invite=fact.invite, labels=fact.labels)
            self._node_of[fact.key] = fact.node
        else:
            self._revoke(fact, now_ns)

    def can_apply(self, fact: JoiningFact) -> bool:
        """Whether what it speaks of is known; it need not be where the journal was cut."""
        if isinstance(fact, NodeRevoked):
            return fact.node in self.members
        return isinstance(fact, NodeInvited | NodeAdmitted) or fact.invite in self.invites

    def remove(self, node: str, now_ns: int) -> bool:
        """Fold that the node is forgotten; False when it never joined."""
        member = self.members.pop(node, None)
        if member is None:
            return False
        self._node_of.pop(member.key, None)
        self._hold_against(member.key, now_ns)
        return True

    def _take(self, invite: str, node: str, key: str, *, used: bool) -> None:
        invited = self.invites.get(invite)
        if invited is not None:
            self.invites[invite] = _replace(invited, host_node=node, host_key=key, used=used)

    def _revoke(self, fact: NodeRevoked, now_ns: int) -> None:
        member = self.members.get(fact.node)
        if member is None or member.key != fact.key:
            raise InvariantError(f"{fact.node} is revoked, but {fact.key} is not its key")
        self.members[fact.node] = _replace(member, revoked=True)
        self._hold_against(fact.key, now_ns)

    def _hold_against(self, key: str, now_ns: int) -> None:
        now_s = now_ns // NANOSECONDS
        held = {key: at_s for key, at_s in self.revoked.items() if at_s + REVOKED_S > now_s}
        self.revoked = held | {key: now_s}

    def _forget_invites(self, now_ns: int) -> None:
        over = [k for k, one in self.invites.items() if one.expires_ns + FORGET_NS <= now_ns]
        for key in over:
            del self.invites[key]

    # -- showing -----------------------------------------------------------------------------------
    def node_of(self, key: str) -> str | None:
        """Which node a key is; None = nobody, or nobody any more."""
        name = self._node_of.get(key)
        return None if name is None or self.members[name].revoked else name

    def waits(self, invite: str, key: str) -> bool:
        """Whether a host waits for approval."""
        invited = self.invites.get(invite)
        return invited is not None and invited.state == WAITING and invited.host_key == key

    def refusal_of_key(self, key: str) -> Refusal:
        """Why it is nobody."""
        if key in self.revoked:
            return Refusal("key_revoked", "This host was removed from the mesh; it may join anew.")
        return Refusal("key_unknown", "No node has this key; the host may join anew.")

    def invitation(self, key: str) -> Invitation | None:
        invited = self.invites.get(key)
        return None if invited is None else view(key, invited)

    def invitation_for(self, node: str) -> Invitation | None:
        """By which the host came that waits to be `node`, or is it."""
        key, invited = self._waiting(node)
        return view(key, invited) if key else None

    def invitations(self) -> tuple[Invitation, ...]:
        return tuple(view(key, invited) for key, invited in self.invites.items())

    def revocations(self) -> Mapping[str, int]:
        """Keys that are nobody any more, each with the Unix time up to which nothing that was
        signed for it holds: well ahead, as clocks differ."""
        return {key: at_s + REVOKED_S for key, at_s in sorted(self.revoked.items())}


def _admitted(key: str, invited: Invited) -> NodeAdmitted:
    return NodeAdmitted(invited.host_node, invited.host_key, key, invited.labels)


def _expired(invited: Invited, now_ns: int) -> Refusal | None:
    if now_ns < invited.expires_ns:
        return None
    return Refusal("invitation_expired", "The invitation has run out; ask for a new one.")
