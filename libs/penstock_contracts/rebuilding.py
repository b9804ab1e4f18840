"""How is what follows from the ledger made anew?

Prices, use per day, the time of devices: all that is derived from what was reported can be dropped
and derived again, and is then the same. Closed months are facts, and stay. It does not know how.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.bounds import Label


class RebuildLedger(msgspec.Struct, frozen=True):
    """`command.metering.rebuild`: drop what is derived of open months; it is derived again from
    now on, a little at a time. Answered with a `Stale`."""

    key: Label


class StaleQuery(msgspec.Struct, frozen=True):
    """`query.metering.stale`."""


class Stale(msgspec.Struct, frozen=True):
    """What is to be derived still: leases to be rated, nodes whose devices' time is to be summed.
    Both 0: what the ledger shows is complete."""

    leases: int
    nodes: int
