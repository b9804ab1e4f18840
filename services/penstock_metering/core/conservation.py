"""Do the ledger and the agents' counters tell the same story, and does time sum to capacity?

Two accounts of the same time, made apart: usage segments, placed into leases and node facts, and
the cumulative counters of each agent. The check can fail: a segment that is lost, doubled or
overlaps another makes `unaccounted_milli_ms` positive. Each node's accounts are compared as they
are derived (`core.node_time`); here they are added up for those that answered and those that did
not. It does not know how either was transported.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_contracts.queries import Finding
from penstock_metering.core.balances import NodeBalance
from penstock_metering.core.checkpoints import Missing
from penstock_metering.core.sweeping import STATES, UNKNOWN


class Balance(msgspec.Struct, kw_only=True):
    """The outcome. `watermark_ms`: up to where every answering node was compared; None = nothing
    was."""

    unaccounted_milli_ms: int = 0
    capacity_milli_ms: int = 0
    milli_ms: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(STATES, 0))
    watermark_ms: int | None = None
    findings: list[Finding] = []

    @property
    def unaccounted_ms(self) -> int:
        return -(-self.unaccounted_milli_ms // GPU_MILLI_WHOLE)

    def find(self, code: str, sentence: str) -> None:
        self.findings.append(Finding(code, sentence))


def balance(
    nodes: Iterable[tuple[str, NodeBalance]],
    answered: frozenset[str],
    settled_seq: int,
    now_ms: int,
) -> Balance:
    """`answered` nodes have just closed their books, of others nothing is known since they last
    did; leases released up to `settled_seq` of JOBS must be complete."""
    result = Balance()
    for node, own in nodes:
        totals = own.totals
        result.unaccounted_milli_ms += totals.unaccounted_milli_ms
        result.capacity_milli_ms += totals.capacity_milli_ms
        for state, spent in zip(STATES, totals.milli_ms, strict=True):
            result.milli_ms[state] += spent
        has_answered = node in answered
        for uuid, end_ms in own.ends_ms.items():
            if has_answered and uuid not in own.uncounted:
                continue
            silent = GPU_MILLI_WHOLE * max(0, now_ms - end_ms)
            result.capacity_milli_ms += silent
            result.milli_ms[STATES[UNKNOWN]] += silent
        if has_answered:
            _take_answer(result, node, own, settled_seq)
        result.findings += own.findings.said
        if own.findings.left_out:
            result.find("more", f"{own.findings.left_out} further findings of node {node}")
    total = sum(result.milli_ms.values())
    if total != result.capacity_milli_ms:
        result.find(
            "states_do_not_sum",
            f"device states sum to {total} milli-GPU·ms, capacity is {result.capacity_milli_ms}",
        )
    return result


def _take_answer(result: Balance, node: str, own: NodeBalance, settled_seq: int) -> None:
    for uuid in own.uncounted:
        result.find("counter_missing", f"node {node} answered without a counter of device {uuid}")
    mark_ms = own.watermark_ms
    if mark_ms is not None:
        before_ms = result.watermark_ms
        result.watermark_ms = mark_ms if before_ms is None else min(before_ms, mark_ms)
    for lease in own.missing:
        if lease.released_seq <= settled_seq:
            result.find("segments_missing", _missing(lease))


def _missing(lease: Missing) -> str:
    _, job_id, rank = lease.key
    return (
        f"job {job_id} attempt {lease.attempt} rank {rank} has {lease.had} segments in the ledger, "
        f"its agent says {lease.segments}"
    )
