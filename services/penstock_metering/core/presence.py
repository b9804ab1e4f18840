"""What is looked at when a node's time is worked out?

One device in one boot, and all of one look together. It does not know what is done with them.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_metering.core.accounts import Counter
from penstock_metering.core.boots import Boot
from penstock_metering.core.checkpoints import Checkpoint, DeviceAccount, Totals
from penstock_metering.core.node_facts import Line, NodeFacts
from penstock_metering.core.sweeping import UNKNOWN, Hold, Part, Run, Spent, by_day
from penstock_metering.core.tenancies import Register


class DeviceTime(msgspec.Struct, kw_only=True):
    """One device in one boot: its window, the part of it that is compared, where its leases lie."""

    boot: Boot
    at: int
    """Which of the boots looked at."""
    uuid: str
    account: DeviceAccount
    counter: Counter | None
    end_ms: int
    holds: list[Hold] = []
    runs: list[Run] = []
    reach: list[tuple[Line, int]] = []
    """Segments that are swept or not counted yet, and by how much they are moved."""
    uncounted: list[tuple[Line, int]] = []
    parts: dict[Part, Spent] = {}

    @property
    def gap(self) -> Iterable[tuple[int, int]]:
        """Time behind the newest counter of a boot that is over, per day."""
        followed_ms = self.boot.followed_ms
        return () if followed_ms is None else by_day(self.end_ms, followed_ms)

    def compare(self, before: Spent) -> Totals:
        """`before`: what was swept up to the checkpoint."""
        total = before.copy()
        for part in self.parts.values():
            total.add(part)
        milli_ms = total.settled()
        capacity = GPU_MILLI_WHOLE * (self.end_ms - self.account.start_ms)
        unaccounted = 0
        if self.counter is not None:
            observed = GPU_MILLI_WHOLE * (self.counter.upto_ms - self.counter.since_ms)
            counted = observed - self.counter.running_milli_ms
            not_running = capacity - total.running_milli_ms
            unaccounted += abs(self.account.ledger_milli_ms - self.counter.running_milli_ms)
            unaccounted += abs(not_running - counted)
        for _, silent in self.gap:
            milli_ms[UNKNOWN] += silent
            capacity += silent
        return Totals(unaccounted, capacity, milli_ms)


class Present(msgspec.Struct, kw_only=True):
    """All of one look."""

    base: Checkpoint
    facts: NodeFacts
    boots: list[Boot]
    found: Register
    devices: list[DeviceTime]
    homeless: dict[str, int]
