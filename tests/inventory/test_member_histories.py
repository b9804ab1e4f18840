"""Is a name one key, and a key one node, whatever hosts and operators do?"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from inventory.builders import NOW_NS, a_description
from penstock_contracts.joining import InviteNode, NodeAdmitted, NodeRevoked
from penstock_contracts.nodes import ALIVE, NodeRemoved
from penstock_inventory.core.events import Approve, Ask, Command, Described, Invite
from penstock_inventory.core.fleet import Fleet

SECOND = 1_000_000_000


def remove(node: str) -> Command:
    return Command(node, "remove")


KEYS = st.sampled_from(["U" + letter * 55 for letter in "EF"])
INVITES = st.sampled_from(["U" + letter * 55 for letter in "KLMNOP"])
NAMES = st.sampled_from(["n1", "n2", "n3"])
INVITING = st.builds(
    lambda key, approved: Invite(InviteNode(key=key, ttl_s=60, approved=approved)),
    INVITES,
    st.booleans(),
)
NAMING = st.builds(lambda key, name: Invite(InviteNode(key=key, node=name)), INVITES, NAMES)
ASKING = st.builds(Ask, INVITES, KEYS, NAMES)
APPROVING = st.builds(Approve, NAMES)
RARE = st.one_of(
    NAMING,
    st.builds(remove, NAMES),
    st.builds(lambda name: Described(a_description(name)), NAMES),
)
EVENTS = st.one_of(INVITING, INVITING, ASKING, ASKING, ASKING, APPROVING, RARE)


@given(st.lists(st.tuples(EVENTS, st.integers(0, 3)), min_size=20, max_size=60))
@settings(max_examples=120, deadline=None)
def test_in_any_history_a_name_is_one_key_and_an_invitation_lets_one_key_in_once(
    history: list[tuple[Any, int]],
) -> None:
    fleet, now_ns, facts = Fleet(), NOW_NS, []
    admitted_by: dict[str, str] = {}
    ended: set[str] = set()
    for event, seconds in history:
        now_ns += seconds * SECOND
        for fact in fleet.decide(event, now_ns, len(facts) + 1):
            if isinstance(fact, NodeAdmitted):
                assert fact.node not in fleet.members.members, "the name was free"
                assert fact.key not in ended, "who was put out comes back with that key never"
                assert admitted_by.setdefault(fact.invite, fact.key) == fact.key
                assert now_ns < fleet.members.invites[fact.invite].expires_ns
            if isinstance(fact, NodeRevoked | NodeRemoved):
                member = fleet.members.members.get(fact.node)
                ended |= {member.key} if member else set()
            fleet.apply(fact, len(facts) + 1, now_ns)
            facts.append((fact, now_ns))
        keys = [member.key for member in fleet.members.members.values()]
        assert len(set(keys)) == len(keys)
        assert ended <= set(fleet.members.revocations())
        for name, member in fleet.members.members.items():
            assert fleet.members.node_of(member.key) == (None if member.revoked else name)
            if member.revoked:
                assert fleet.nodes[name].liveness != ALIVE
    again = Fleet()
    for seq, (fact, at_ns) in enumerate(facts, 1):
        again.apply(fact, seq, at_ns)
    assert again.snapshot() == fleet.snapshot()
