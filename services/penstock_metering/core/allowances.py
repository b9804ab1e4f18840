"""What does the scheduler's journal say about budgets?

Collects what was reserved and what limits were agreed on, for the next commit. It does not know
what was used.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from penstock_contracts.journal import BudgetNoted, LeaseGranted, LeasesPaid


class Reserved(msgspec.Struct, frozen=True):
    """All that is set aside for an attempt. `lease_seq` 0: its grant says which."""

    lease_seq: int
    job_id: str
    attempt: int
    budget_id: str
    amount: int


class Agreed(msgspec.Struct, frozen=True):
    """The scheduler reserves no more than `limit` since it heard the message `number`."""

    budget_id: str
    number: int
    limit: int


class Allowances:
    """`apply` is the only way in; `take_changes` empties what the next commit must store."""

    def __init__(self) -> None:
        self._reserved: list[Reserved] = []
        self._agreed: list[Agreed] = []

    def apply(self, seq: int, facts: Iterable[Any]) -> None:
        """Fold one entry of JOBS."""
        for fact in facts:
            kind = type(fact)
            if kind is LeaseGranted:
                self._reserve(seq, fact.job_id, fact.attempt, fact.reserved)
            elif kind is LeasesPaid:
                for paid in fact.leases:
                    self._reserve(0, paid.job_id, paid.attempt, paid.reserved)
            elif kind is BudgetNoted:
                noted = Agreed(fact.state.budget_id, fact.state.number, fact.limit)
                self._agreed.append(noted)

    def take_changes(self) -> tuple[list[Reserved], list[Agreed]]:
        """In the order of the journal."""
        taken = self._reserved, self._agreed
        self._reserved, self._agreed = [], []
        return taken

    def _reserve(self, seq: int, job_id: str, attempt: int, reserved: dict[str, int]) -> None:
        for budget_id, amount in reserved.items():
            self._reserved.append(Reserved(seq, job_id, attempt, budget_id, amount))
