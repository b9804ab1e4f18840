"""In which ways can a wish of the user not be granted?

A refusal carries a stable code and a sentence; an outage says that trying again helps. It does not
know how either is shown.
"""

from __future__ import annotations

from penstock_contracts.errors import Refusal


class Refused(Exception):
    """The mesh (or this client, by the same rules) says no. Repeating the same changes nothing."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.code}: {refusal.message}")
        self.refusal = refusal


class NotFound(Refused):
    """There is no such job, node or resource."""


class Unavailable(Exception):
    """Nobody answered in time. Repeating helps once the mesh or the named service is back."""

    def __init__(self, sentence: str, *, service: str = "") -> None:
        super().__init__(sentence)
        self.service = service


def refuse(code: str, message: str, field: str = "") -> Refused:
    return Refused(Refusal(code, message, field))


NOT_FOUND_CODES = frozenset({"unknown_job", "unknown_node", "not_found"})


def refused(refusal: Refusal) -> Refused:
    """The refusal as the exception that fits it."""
    return NotFound(refusal) if refusal.code in NOT_FOUND_CODES else Refused(refusal)
