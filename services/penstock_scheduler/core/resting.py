"""When is a node that refuses asked again?

A node that refuses work rests, twice as long each time in a row, and then gets one lease as a
trial; the first thing it prepares or starts makes it whole. So a node that takes nothing swallows
a job a minute, not all of them. It does not know why a node refuses, and leaves alone what runs
there.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.journal import NodeImaged
from penstock_scheduler.core.state import Lease, Node

REST_NS_FIRST = 1_000_000_000
REST_NS_MAX = 60_000_000_000


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


def accepted(node: Node, lease: Lease) -> list[NodeImaged]:
    """It has prepared or started a lease: it is well if that was granted after the last refusal."""
    refused_ns = node.image.refused_ns
    if refused_ns is None or lease.granted_ns <= refused_ns:
        return []
    return [msgspec.structs.replace(node.image, refusals=0, refused_ns=None, resting=False)]


def rested(node: Node, now_ns: int) -> list[NodeImaged]:
    """Time has passed: may it be tried again?"""
    image = node.image
    if not image.resting or now_ns < (image.refused_ns or 0) + rest_ns(image.refusals):
        return []
    return [msgspec.structs.replace(image, resting=False)]
