"""Which hosts become nodes, and which keys are nobody any more?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from inventory.builders import NOW_NS, a_description, a_fleet
from penstock_contracts.joining import (
    REVOKED_S,
    InviteNode,
    NodeAdmitted,
    NodeAsked,
    NodeInvited,
    NodeRevoked,
)
from penstock_contracts.nodes import (
    LOST,
    NodeCordoned,
    NodeFact,
    NodeLivenessChanged,
    NodeRegistered,
    NodeRemoved,
)
from penstock_inventory.core.events import Approve, Ask, Command, Described, Invite, Returned
from penstock_inventory.core.fleet import Fleet
from penstock_inventory.core.members import INVITES_MAX

SECOND = 1_000_000_000
INVITE, SECOND_INVITE, HOST, OTHER = ("U" + letter * 55 for letter in "ABCD")
EXPIRES_NS = NOW_NS + 900 * SECOND

INVITED = NodeInvited(invite=INVITE, expires_ns=EXPIRES_NS)
HELD = NodeInvited(invite=INVITE, expires_ns=EXPIRES_NS, approved=False)
ASKED = NodeAsked("n1", HOST, INVITE)
ADMITTED = NodeAdmitted("n1", HOST, INVITE)
REGISTERED = NodeRegistered(a_description())
REVOKED = NodeRevoked("n1", HOST)
PUT_OUT = "its key was revoked"


def check(
    given: Sequence[Any], when: Any, then: Sequence[Any], code: str = "", at_ns: int = NOW_NS
) -> Fleet:
    """Decide one event; its facts change the fleet as a restart would see it; `code` is why it was
    refused."""
    fleet = a_fleet(*given)
    refusal = None
    if isinstance(when, Invite | Ask | Approve):
        refusal = fleet.members.refusal_of(when, fleet.nodes, at_ns)
    elif isinstance(when, Command):
        refusal = fleet.refusal_of(when)
    assert (refusal.code if refusal else "") == code
    facts = fleet.decide(when, at_ns, len(given) + 1)
    assert list(facts) == list(then)
    for fact in facts:
        fleet.apply(fact, len(given) + 1, at_ns)
    assert msgspec.json.decode(msgspec.json.encode(facts), type=list[NodeFact]) == list(facts)
    again = Fleet()
    again.restore(fleet.snapshot())
    assert again.snapshot() == fleet.snapshot()
    assert again.members.node_of(HOST) == fleet.members.node_of(HOST)
    return fleet


def remove(node: str = "n1") -> Command:
    return Command(node, "remove")


def test_an_operator_invites_and_repeating_it_changes_nothing() -> None:
    wish = Invite(InviteNode(key=INVITE, node="n1", site="a", pool="p", ttl_s=60))
    invited = NodeInvited(
        invite=INVITE, expires_ns=NOW_NS + 60 * SECOND, node="n1", site="a", pool="p"
    )
    check([], wish, [invited])
    check([invited], wish, ())


def test_a_host_with_an_invitation_is_admitted_under_the_name_it_gives() -> None:
    fleet = check([INVITED], Ask(INVITE, HOST, "n1"), [ADMITTED])
    assert fleet.members.node_of(HOST) == "n1"
    view = fleet.view("n1", None)
    assert view is not None and (view.key, view.liveness, view.schedulable) == (HOST, LOST, False)


def test_an_invitation_may_name_the_node_and_its_place() -> None:
    invited = NodeInvited(invite=INVITE, expires_ns=EXPIRES_NS, node="gpu-7", site="a", pool="p")
    admitted = NodeAdmitted("gpu-7", HOST, INVITE, {"site": "a", "pool": "p"})
    check([invited], Ask(INVITE, HOST, "n1"), [admitted])


def test_what_the_invitation_says_of_the_place_wins_over_the_host() -> None:
    admitted = NodeAdmitted("n1", HOST, INVITE, {"site": "a"})
    said = a_description(labels={"site": "elsewhere", "zone": "z"})
    placed = NodeRegistered(a_description(labels={"site": "a", "zone": "z"}))
    check([INVITED, admitted], Described(said), [placed])
    check([INVITED, admitted, placed], Described(said), ())


def test_who_asks_again_with_the_same_key_gets_the_same_node_again() -> None:
    """Its answer may have been lost."""
    fleet = check([INVITED, ADMITTED], Ask(INVITE, HOST, "another"), ())
    assert fleet.members.node_of(HOST) == "n1"
    check([INVITED, ADMITTED], Ask(INVITE, HOST, "n1"), (), at_ns=EXPIRES_NS + 1)


@pytest.mark.parametrize(
    ("given_facts", "ask", "code"),
    [
        ([], Ask(INVITE, HOST, "n1"), "invitation_unknown"),
        ([INVITED, ADMITTED], Ask(INVITE, OTHER, "n2"), "invitation_used"),
        ([HELD, ASKED], Ask(INVITE, OTHER, "n2"), "invitation_used"),
        (
            [INVITED, ADMITTED, msgspec.structs.replace(INVITED, invite=SECOND_INVITE)],
            Ask(SECOND_INVITE, OTHER, "n1"),
            "name_taken",
        ),
        (
            [HELD, ASKED, msgspec.structs.replace(INVITED, invite=SECOND_INVITE)],
            Ask(SECOND_INVITE, OTHER, "n1"),
            "name_taken",
        ),
        ([INVITED, REGISTERED], Ask(INVITE, HOST, "n1"), "name_taken"),
        (
            [INVITED, ADMITTED, msgspec.structs.replace(INVITED, invite=SECOND_INVITE)],
            Ask(SECOND_INVITE, HOST, "n2"),
            "key_known",
        ),
        ([INVITED], Ask(INVITE, INVITE, "n1"), "key_known"),
        (
            [INVITED, ADMITTED, REGISTERED, REVOKED],
            Ask(INVITE, HOST, "n1"),
            "key_revoked",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whoever_may_not_join_is_told_why(given_facts: list[Any], ask: Ask, code: str) -> None:
    check(given_facts, ask, (), code)


def test_an_invitation_runs_out_also_for_a_host_that_waits() -> None:
    check([INVITED], Ask(INVITE, HOST, "n1"), (), "invitation_expired", at_ns=EXPIRES_NS)
    check([HELD, ASKED], Approve("n1"), (), "invitation_expired", at_ns=EXPIRES_NS)
    late = msgspec.structs.replace(INVITED, invite=SECOND_INVITE, expires_ns=EXPIRES_NS + SECOND)
    second = NodeAdmitted("n1", OTHER, SECOND_INVITE)
    check([HELD, ASKED, late], Ask(SECOND_INVITE, OTHER, "n1"), [second], at_ns=EXPIRES_NS)


def test_a_host_that_is_not_approved_of_waits() -> None:
    fleet = check([HELD], Ask(INVITE, HOST, "n1"), [ASKED])
    assert fleet.members.node_of(HOST) is None
    assert fleet.members.waits(INVITE, HOST)
    check([HELD, ASKED], Ask(INVITE, HOST, "n1"), ())
    fleet = check([HELD, ASKED], Approve("n1"), [ADMITTED])
    assert fleet.members.node_of(HOST) == "n1" and not fleet.members.waits(INVITE, HOST)
    check([HELD, ASKED, ADMITTED], Approve("n1"), ())
    check([INVITED], Approve("n1"), (), "nobody_waits")


def test_a_host_that_became_a_node_while_it_waited_is_not_made_a_second_one() -> None:
    second = msgspec.structs.replace(INVITED, invite=SECOND_INVITE)
    elsewhere = NodeAdmitted("n2", HOST, SECOND_INVITE)
    check([HELD, ASKED, second, elsewhere], Approve("n1"), (), "key_known")
    gone = [HELD, ASKED, second, elsewhere, NodeRemoved("n2")]
    check(gone, Approve("n1"), (), "key_known")
    check([HELD, ASKED, REGISTERED], Approve("n1"), (), "name_taken")


def test_removing_a_node_that_is_alive_puts_it_out_and_keeps_what_it_is_charged_with() -> None:
    lost = NodeLivenessChanged("n1", LOST, PUT_OUT)
    cordoned = NodeCordoned("n1", reason=PUT_OUT)
    fleet = check([INVITED, ADMITTED, REGISTERED], remove(), [REVOKED, cordoned, lost])
    assert fleet.members.node_of(HOST) is None
    assert fleet.members.revocations() == {HOST: NOW_NS // SECOND + REVOKED_S}
    view = fleet.view("n1", None)
    assert view is not None and view.revoked and not view.schedulable
    out = [INVITED, ADMITTED, REGISTERED, REVOKED, cordoned, lost]
    check(out, Returned("n1"), ())
    check(out, Command("n1", "uncordon"), (), "node_revoked")
    fleet = check(out, remove(), [NodeRemoved("n1")])
    assert fleet.view("n1", None) is None
    assert HOST in fleet.members.revocations()


def test_removing_a_node_that_is_away_forgets_it_and_its_key() -> None:
    lost = NodeLivenessChanged("n1", LOST, "silent")
    fleet = check([INVITED, ADMITTED, REGISTERED, lost], remove(), [NodeRemoved("n1")])
    assert fleet.members.refusal_of_key(HOST).code == "key_revoked"
    again = [
        *[INVITED, ADMITTED, REGISTERED, lost, NodeRemoved("n1")],
        msgspec.structs.replace(INVITED, invite=SECOND_INVITE),
    ]
    admitted = NodeAdmitted("n1", OTHER, SECOND_INVITE)
    check(again, Ask(SECOND_INVITE, OTHER, "n1"), [admitted])
    check(again, Ask(SECOND_INVITE, HOST, "n1"), (), "key_revoked")


def test_a_host_that_was_admitted_and_never_came_can_be_removed() -> None:
    fleet = check([INVITED, ADMITTED], remove(), [NodeRemoved("n1")])
    assert fleet.view("n1", None) is None
    check([INVITED, ADMITTED], Command("n1", "drain"), (), "unknown_node")


def test_a_node_that_did_not_join_is_removed_as_ever() -> None:
    check([REGISTERED], remove(), (), "node_alive")
    lost = NodeLivenessChanged("n1", LOST, "silent")
    check([REGISTERED, lost], remove(), [NodeRemoved("n1")])


def test_a_revocation_is_forgotten_when_nothing_signed_for_the_key_can_hold_any_more() -> None:
    fleet = a_fleet(INVITED, ADMITTED, NodeRemoved("n1"))
    later_ns = NOW_NS + (REVOKED_S + 1) * SECOND
    for fact in (
        msgspec.structs.replace(INVITED, invite=SECOND_INVITE),
        NodeAdmitted("n2", OTHER, SECOND_INVITE),
        NodeRemoved("n2"),
    ):
        fleet.apply(fact, 9, later_ns)
    assert set(fleet.members.revocations()) == {OTHER}


def test_invitations_are_bounded_and_forgotten() -> None:
    fleet = a_fleet(
        *(NodeInvited(invite=str(n), expires_ns=EXPIRES_NS) for n in range(INVITES_MAX))
    )
    wish = Invite(InviteNode(key=INVITE))
    refusal = fleet.members.refusal_of(wish, fleet.nodes, NOW_NS)
    assert refusal is not None and refusal.code == "too_many_invitations"
    assert fleet.members.refusal_of(wish, fleet.nodes, EXPIRES_NS) is None
    fleet.apply(INVITED, 2_000, EXPIRES_NS + 3_600 * SECOND)
    assert set(fleet.members.invites) == {INVITE}


def test_a_snapshot_of_before_hosts_could_join_is_read() -> None:
    fleet = a_fleet(REGISTERED)
    old = msgspec.json.encode(fleet.nodes)
    again = Fleet()
    again.restore(old)
    assert again.nodes == fleet.nodes and not again.members.members


def test_facts_about_members_that_a_cut_journal_has_lost_are_passed_over() -> None:
    fleet = Fleet()
    assert not fleet.apply_after_gap(REVOKED, 5, NOW_NS)
    assert not fleet.apply_after_gap(ASKED, 6, NOW_NS)
    assert fleet.apply_after_gap(ADMITTED, 7, NOW_NS)
    assert fleet.apply_after_gap(REVOKED, 8, NOW_NS)
    assert fleet.members.node_of(HOST) is None
