"""Was every host that became a node invited, once, and nobody let in who had been put out?

Walks the facts about keys in the NODES journal, and lays what was signed beside them. It does not
know what nodes do.
"""

from __future__ import annotations

from penstock_contracts.joining import NodeAdmitted, NodeInvited, NodeRevoked
from penstock_contracts.nodes import NodeRemoved
from tests.checkers.history import History, Violation
from tests.checkers.leases import surviving

Claim = tuple[str, str]
"""(key, node)."""


def check_members(history: History) -> list[Violation]:
    """Every key that was let in without a right to it, and every claim that no fact stands for."""
    walk = _Walk()
    for seen in surviving(history.nodes_entries):
        for fact in seen.entry.facts:
            walk.see(fact, seen.at_ns, seen.entry.now_ns)
    if not history.lossy_broker:
        walk.compare(history)
    return walk.found


class _Walk:
    """Fact by fact."""

    def __init__(self) -> None:
        self.found: list[Violation] = []
        self._expires_ns: dict[str, int] = {}
        self._used_by: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        self._put_out: set[str] = set()
        self._since_ns: dict[Claim, int] = {}

    def see(self, fact: object, at_ns: int, now_ns: int) -> None:
        if isinstance(fact, NodeInvited):
            self._expires_ns[fact.invite] = fact.expires_ns
        elif isinstance(fact, NodeAdmitted):
            self._admit(fact, at_ns, now_ns)
        elif isinstance(fact, NodeRevoked):
            self._put_out.add(fact.key)
        elif isinstance(fact, NodeRemoved):
            key = self._keys.pop(fact.node, None)
            if key is not None:
                self._put_out.add(key)

    def compare(self, history: History) -> None:
        for signed in history.signatures:
            since_ns = self._since_ns.get((signed.key, signed.node))
            if since_ns is None or signed.at_ns < since_ns:
                what = "claims were signed before it was in the journal that it is the node"
                self._note("signed_uncommitted", signed.node, signed.key, what, signed.at_ns)

    def _admit(self, fact: NodeAdmitted, at_ns: int, now_ns: int) -> None:
        expires_ns = self._expires_ns.get(fact.invite)
        if expires_ns is None:
            self._note("admitted_uninvited", fact.node, fact.key, "was never invited", at_ns)
        elif now_ns >= expires_ns:
            self._note("admitted_late", fact.node, fact.key, "came too late", at_ns)
        other = self._used_by.setdefault(fact.invite, fact.key)
        if other != fact.key:
            what = f"was let in by the invitation that {other} had used"
            self._note("invitation_used_twice", fact.node, fact.key, what, at_ns)
        if fact.key in self._put_out:
            self._note("admitted_again", fact.node, fact.key, "had been put out", at_ns)
        if self._keys.get(fact.node, fact.key) != fact.key:
            what = f"got the name of {self._keys[fact.node]}"
            self._note("name_taken_twice", fact.node, fact.key, what, at_ns)
        self._keys[fact.node] = fact.key
        self._since_ns.setdefault((fact.key, fact.node), at_ns)

    def _note(self, code: str, node: str, key: str, what: str, at_ns: int) -> None:
        sentence = f"{key}, as {node}, {what}"
        self.found.append(Violation(code=code, sentence=sentence, node=node, at_ns=at_ns))
