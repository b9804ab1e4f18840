"""Is each lease's use complete, contiguous and its own?

Looks at segments lease by lease. It does not know devices' time.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from penstock_metering.core.accounts import Books, Line
from penstock_metering.core.rows import LeaseKey, LeaseRow

Find = Callable[[str, str], None]


def check_leases(books: Books, find: Find) -> None:
    """Report segments that are nobody's, foreign, overlapping, or missing from a settled lease."""
    by_lease: dict[LeaseKey, dict[int, Line]] = {}
    for line in books.lines:
        lease = books.leases.get(line.lease_key)
        if lease is None:
            if line.lease_seq > books.unread_to_seq:  # else its grant stood in what is missing
                find("segment_without_lease", f"{_name(line)} belongs to no lease")
            continue
        if not _is_own(line, lease):
            find(
                "segment_not_of_lease",
                f"{_name(line)} is on {line.node} {line.device}, its lease not",
            )
        by_lease.setdefault(line.lease_key, {})[line.seq] = line
    for segments in by_lease.values():
        for before, after in pairwise(segments[seq] for seq in sorted(segments)):
            if after.seq == before.seq + 1 and after.t0_ms != before.t1_ms:
                find(
                    "segments_not_contiguous",
                    f"{_name(after)} begins at {after.t0_ms}, the last ended at {before.t1_ms}",
                )
    for key, lease in books.leases.items():
        if lease.released_seq is None or lease.released_seq > books.settled_seq:
            continue
        had = len(by_lease.get(key, ()))
        if lease.segments is not None and lease.node in books.answered and had != lease.segments:
            find(
                "segments_missing",
                f"job {lease.job_id} attempt {lease.attempt} rank {lease.rank} has {had} segments "
                f"in the ledger, its agent says {lease.segments}",
            )


def _is_own(line: Line, lease: LeaseRow) -> bool:
    if line.node != lease.node:
        return False
    if not line.device:
        return not lease.devices
    return line.device in lease.devices and line.milli == lease.gpu_milli


def _name(line: Line) -> str:
    return f"segment {line.seq} of job {line.job_id} (lease {line.lease_seq}, rank {line.rank})"
