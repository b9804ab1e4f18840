"""Does the checker see a host that became a node without a right to it?"""

from __future__ import annotations

import pytest

from penstock_contracts.joining import NodeAdmitted, NodeInvited, NodeRevoked
from penstock_contracts.nodes import NodeRemoved
from tests.checkers.builders import a_good_history
from tests.checkers.history import Entry, History, Signature
from tests.checkers.members import check_members
from tests.checkers.tampering import replace

SECOND_NS = 1_000_000_000
INVITED = NodeInvited(invite="I1", expires_ns=10**19)
ADMITTED = NodeAdmitted("n9", "K1", "I1")


def _after(*facts: object) -> History:
    """Each in an entry of its own, a second apart."""
    history = a_good_history()
    for fact in facts:
        last = history.nodes_entries[-1]
        entry = replace(last.entry, seq=last.entry.seq + 1, facts=(fact,))
        history.nodes_entries.append(Entry(at_ns=last.at_ns + SECOND_NS, entry=entry))
    return history


def _codes(history: History) -> set[str]:
    return {violation.code for violation in check_members(history)}


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ((ADMITTED,), "admitted_uninvited"),
        ((NodeInvited(invite="I1", expires_ns=1), ADMITTED), "admitted_late"),
        ((INVITED, ADMITTED, NodeAdmitted("n8", "K2", "I1")), "invitation_used_twice"),
        (
            (INVITED, replace(INVITED, invite="I2"), ADMITTED, NodeAdmitted("n9", "K2", "I2")),
            "name_taken_twice",
        ),
        (
            (
                INVITED,
                replace(INVITED, invite="I2"),
                ADMITTED,
                NodeRevoked("n9", "K1"),
                NodeRemoved("n9"),
                NodeAdmitted("n9", "K1", "I2"),
            ),
            "admitted_again",
        ),
    ],
)
def test_who_had_no_right_to_it_is_found(facts: tuple[object, ...], code: str) -> None:
    assert _codes(_after(*facts)) == {code}


def test_who_was_invited_is_let_in_also_by_the_name_of_one_that_was_removed() -> None:
    history = _after(
        INVITED,
        replace(INVITED, invite="I2"),
        ADMITTED,
        NodeRemoved("n9"),
        NodeAdmitted("n9", "K2", "I2"),
    )
    assert _codes(history) == set()


@pytest.mark.parametrize(("seconds", "found"), [(-1, {"signed_uncommitted"}), (0, set())])
def test_what_is_signed_was_committed_before(seconds: int, found: set[str]) -> None:
    history = _after(INVITED, ADMITTED)
    at_ns = history.nodes_entries[-1].at_ns + seconds * SECOND_NS
    history.signatures.append(Signature(at_ns=at_ns, key="K1", node="n9"))
    assert _codes(history) == found
