"""What can happen to the scheduler?

Decoded inputs, one class each. They carry no time and no cursor: the runtime adds both. It does
not know where they come from.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.budgets import BudgetFact
from penstock_contracts.errors import Refusal
from penstock_contracts.expectations import ExpectedShape
from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import RefusedItem
from penstock_contracts.leases import ReportItem
from penstock_contracts.nodes import NodeFact
from penstock_contracts.queue_messages import SetPolicy


class JobsRequested(msgspec.Struct, frozen=True):
    """A submit. `items` in order: a spec, or why that part was refused already. `wall_ms`: what the
    clock says, by which ids are judged; the journal's time may be ahead of it. None = the same."""

    tenant: str
    request_seq: int
    items: tuple[JobSpec | RefusedItem, ...]
    wall_ms: int | None = None


class CancelAsked(msgspec.Struct, frozen=True):
    tenant: str
    request_seq: int
    job_id: str
    reason: str


class RequestBroken(msgspec.Struct, frozen=True):
    """A request nothing can be made of."""

    tenant: str
    request_seq: int
    refusal: Refusal


class NodeReported(msgspec.Struct, frozen=True):
    """One item of a node's report; `node` comes from the subject, so from the credential."""

    node: str
    boot_id: str
    item: ReportItem


class NodeChanged(msgspec.Struct, frozen=True):
    """One fact of the NODES journal."""

    fact: NodeFact


class BudgetHeard(msgspec.Struct, frozen=True):
    """The ledger has told something about money."""

    fact: BudgetFact


class PolicyAsked(msgspec.Struct, frozen=True):
    """An operator sets the queue's policy."""

    asked: SetPolicy


class Ticked(msgspec.Struct, frozen=True):
    """About a second has passed. `silence_ns`: for how long each node was neither heard nor given
    anything, measured on a clock that nobody sets, when the orders of all grants up to entry
    `told_seq` had gone out; it is decided later, and says nothing of grants behind that."""

    silence_ns: dict[str, int]
    told_seq: int


class ExpectationOffered(msgspec.Struct, frozen=True):
    """A take-over, or the fleet has changed: is what is expected still true? `given`: what an
    operator expects; None = what is learned from the jobs seen counts."""

    given: tuple[ExpectedShape, ...] | None = None


class Nudged(msgspec.Struct, frozen=True):
    """Nothing has happened; whoever offers it wants to be called on committed state."""


class GapFound(msgspec.Struct, frozen=True):
    """An entry of the journal was damaged: facts may be missing from the state."""
