"""When is a node that refuses asked again, and one on which everybody's work fails?

A node that refuses work rests, twice as long each time in a row, and then gets one lease as a
trial; the first thing it prepares or starts makes it whole. So a node that takes nothing swallows
a job a minute, not all of them. One on which work fails is whole when a trial has succeeded there,
or has run for a while. It does not know why, and leaves alone what runs there.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from penstock_contracts.jobs import RUNNING
from penstock_contracts.journal import NodeImaged, RankExited
from penstock_scheduler.core.resting.failing import Failing, may_blame
from penstock_scheduler.core.state import Job, Lease, Node, is_failure

REST_NS_FIRST = 1_000_000_000
REST_NS_MAX = 60_000_000_000
LASTED_MS = 60_000
"""Work that has run so long on a failing node shows that work can run there."""


def rest_ns(refusals: int) -> int:
    """How long a node rests that has refused so often in a row."""
    doublings = min(refusals - 1, REST_NS_MAX.bit_length())
    return min(REST_NS_FIRST << doublings, REST_NS_MAX)


def refused(node: Node, now_ns: int) -> list[NodeImaged]:
    """It has refused a lease. What it refuses while it rests was granted before, and counts
    once."""
    if node.image.resting:
        return []
    return [
        msgspec.structs.replace(
            node.image, refusals=node.image.refusals + 1, refused_ns=now_ns, resting=True
        )
    ]


def ended(
    node: Node, job: Job, lease: Lease, exit_: RankExited, failing: Failing, now_ns: int
) -> list[NodeImaged]:
    """Work has ended there by itself. One failure too many, or of a trial, and it rests."""
    image = node.image
    if not is_failure(exit_):
        return _whole(node, lease) if image.failing else []
    if image.resting or not may_blame(job, exit_):
        return []
    on_trial = image.failing and lease.id in node.trials
    if not on_trial and not failing.too_many(image.node, lease.tenant, now_ns):
        return []
    (rests,) = refused(node, now_ns)
    return [msgspec.structs.replace(rests, failing=True)]


def accepted(node: Node, lease: Lease) -> list[NodeImaged]:
    """It has prepared or started a lease: if it has only refused before, it is well."""
    return [] if node.image.failing else _whole(node, lease)


def _whole(node: Node, lease: Lease) -> list[NodeImaged]:
    """The node is well, if the lease was granted after what was last held against it."""
    refused_ns = node.image.refused_ns
    if refused_ns is None or lease.granted_ns <= refused_ns:
        return []
    changed = msgspec.structs.replace(
        node.image, refusals=0, refused_ns=None, resting=False, failing=False
    )
    return [changed]


def rested(node: Node, jobs: Mapping[str, Job], now_ns: int) -> list[NodeImaged]:
    """Time has passed: may it be tried again, and has what is tried there lasted?"""
    image = node.image
    if image.resting:
        due = now_ns >= (image.refused_ns or 0) + rest_ns(image.refusals)
        return [msgspec.structs.replace(image, resting=False)] if due else []
    if not image.failing:
        return []
    for job_id, attempt, _ in sorted(node.trials):
        job = jobs.get(job_id)
        if job is None or job.attempt != attempt or job.state != RUNNING or job.stop_reason:
            continue
        if job.started_ms is not None and now_ns // 1_000_000 >= job.started_ms + LASTED_MS:
            return [
                msgspec.structs.replace(
                    image, refusals=0, refused_ns=None, resting=False, failing=False
                )
            ]
    return []
