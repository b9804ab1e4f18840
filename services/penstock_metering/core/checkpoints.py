"""What must be kept of a node's time so far, so that it need not be looked at again?

A checkpoint holds everything up to an instant as sums, and by name only what goes on behind it. It
is nothing but a shorter way: from any of a node's checkpoints, or from none, the same time is
found. It does not know how it is made, nor where it is kept.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.queries import Finding
from penstock_metering.core.boots import Standing
from penstock_metering.core.rows import LeaseKey
from penstock_metering.core.sweeping import EVER, STATES, Spent

FINDINGS_KEPT_MAX = 100
"""Of one node; further ones are counted."""


class Findings(msgspec.Struct, array_like=True):
    """What was found, the first ones in words."""

    said: list[Finding] = []
    left_out: int = 0

    def find(self, code: str, sentence: str) -> None:
        if len(self.said) < FINDINGS_KEPT_MAX:
            self.said.append(Finding(code, sentence))
        else:
            self.left_out += 1

    def copy(self) -> Findings:
        return Findings(list(self.said), self.left_out)


class Segments(msgspec.Struct, array_like=True):
    """Which segments of one lease are there: how many, the last instant of any, and the ends
    (`seq` to instant) at which the next, or the one before, is not there yet."""

    had: int = 0
    last_ms: int | None = None
    ends: dict[int, int] = {}
    starts: dict[int, int] = {}

    def copy(self) -> Segments:
        return Segments(self.had, self.last_ms, dict(self.ends), dict(self.starts))

    def add(self, seq: int, t0_ms: int, t1_ms: int) -> list[tuple[int, int, int]]:
        """One more; returns where it does not join its neighbours: (seq that begins, the instant,
        when the one before had ended)."""
        self.had += 1
        self.last_ms = t1_ms if self.last_ms is None else max(self.last_ms, t1_ms)
        torn = []
        ended_ms = self.ends.pop(seq - 1, None)
        if ended_ms is None:
            self.starts[seq] = t0_ms
        elif ended_ms != t0_ms:
            torn.append((seq, t0_ms, ended_ms))
        begins_ms = self.starts.pop(seq + 1, None)
        if begins_ms is None:
            self.ends[seq] = t1_ms
        elif begins_ms != t1_ms:
            torn.append((seq + 1, begins_ms, t1_ms))
        return torn


class Carried(msgspec.Struct, array_like=True):
    """A lease that may still matter. `begun`: by how many ms it is moved on each device on which
    it began before the checkpoint. `boots`: in which its segments ran. `released`: whether its end
    was known."""

    key: LeaseKey
    granted_ms: int
    released: bool
    segments: Segments
    begun: dict[str, int] = {}
    boots: tuple[str, ...] = ()


class DeviceAccount(msgspec.Struct, array_like=True):
    """One device in the present boot, up to the checkpoint. `start_ms` is where its time begins;
    `ledger_milli_ms` sums its segments up to message `batch`, of which the agent's counter told
    last (−1 = no counter yet)."""

    start_ms: int
    seen_ms: int | None
    batch: int = -1
    ledger_milli_ms: int = 0
    spent: Spent = msgspec.field(default_factory=Spent)


class Totals(msgspec.Struct, array_like=True):
    """What the two accounts of some devices differ by, and where their time went."""

    unaccounted_milli_ms: int = 0
    capacity_milli_ms: int = 0
    milli_ms: list[int] = msgspec.field(default_factory=lambda: [0] * len(STATES))

    def add(self, other: Totals) -> None:
        self.unaccounted_milli_ms += other.unaccounted_milli_ms
        self.capacity_milli_ms += other.capacity_milli_ms
        self.milli_ms = [a + b for a, b in zip(self.milli_ms, other.milli_ms, strict=True)]

    def copy(self) -> Totals:
        return Totals(self.unaccounted_milli_ms, self.capacity_milli_ms, list(self.milli_ms))


class Missing(msgspec.Struct, array_like=True):
    """A lease that is over and had not all the segments its agent spoke of."""

    key: LeaseKey
    attempt: int
    had: int
    segments: int
    released_seq: int


class Checkpoint(msgspec.Struct, kw_only=True):
    """Everything of a node before `upto_ms`, as it was known when there were node changes up to
    `changes_to`, messages of usage up to `usage_to`, and leases up to `leases_to`.

    Messages from `usage_from` on hold segments that reach behind `upto_ms`, or were not counted
    yet. `boots` are the ids so far, the last one present; `counted` the newest message that counted
    in each of those that are over. `days`: per device the UTC days that may still change.
    `homeless`: milli-GPU·ms per device that inventory did not know.
    """

    upto_ms: int = EVER
    changes_to: int = 0
    usage_from: int = 0
    usage_to: int = 0
    leases_to: int = 0
    demand_to: int = 0
    boots: list[str] = []
    counted: dict[str, int] = {}
    start_ms: int = 0
    offset_ms: int = 0
    followed_ms: int | None = None
    standing: Standing = msgspec.field(default_factory=Standing)
    totals: Totals = msgspec.field(default_factory=Totals)
    devices: dict[str, DeviceAccount] = {}
    days: dict[str, dict[int, Spent]] = {}
    carried: list[Carried] = []
    strays: list[LeaseKey] = []
    missing: list[Missing] = []
    homeless: dict[str, int] = {}
    findings: Findings = msgspec.field(default_factory=Findings)
