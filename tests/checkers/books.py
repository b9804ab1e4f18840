"""What is known of money, as far as somebody outside the mesh could see it?

The lines of the ledger, what was ordered of metering and what it answered, what the ledger told the
scheduler, and the rows that stand in the end. It knows no rule and judges nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from penstock_contracts.budgets import BudgetState

Row = dict[str, Any]


class Line(NamedTuple):
    """One segment on one device (or on the host's processors: `device` empty), as the ledger has
    it. `node`, `boot_id` and `batch` tell in which message it came."""

    lease_seq: int
    job_id: str
    rank: int
    seq: int
    device: str
    milli: int
    t0_ms: int
    t1_ms: int
    node: str
    boot_id: str
    batch: int

    @property
    def lease_key(self) -> tuple[int, str, int]:
        return self.lease_seq, self.job_id, self.rank


class MoneyOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who runs the mesh has ordered `what` under a key of his own. `told`: `done`, the
    code of a refusal, or empty when no answer came: it may be done or not. `micro`: of credit."""

    at_ns: int
    what: str
    key: str
    told: str
    tenant: str = ""
    micro: int = 0


class BudgetSaid(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger said of a budget, when the broker had stored it."""

    at_ns: int
    state: BudgetState


class Books(msgspec.Struct, kw_only=True):
    """Rows of the ledger by table, in the order of their keys. `rebuilt`: of the tables that can be
    derived, those that were otherwise when they had been derived anew."""

    rows: dict[str, list[Row]] = {}
    rebuilt: tuple[str, ...] = ()

    def of(self, table: str) -> list[Row]:
        return self.rows.get(table, [])
