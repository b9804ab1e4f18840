"""Do the reports and the two accounts of time agree about what a test's agent ran?"""

from __future__ import annotations

import itertools

from agent.scripted import Mesh
from penstock_contracts.leases import LeaseOrder
from penstock_contracts.usage import Segment


def assert_once(mesh: Mesh, orders: list[LeaseOrder]) -> None:
    """Every lease has each kind of report exactly once, however often it was sent."""
    for order in orders:
        told = mesh.kinds(order)
        assert told == ["Preparing", "Started", "Exited", "Released"], (
            mesh.text(order, "stderr"),
            mesh.story(order),
        )


def assert_two_accounts_agree(mesh: Mesh) -> None:
    """Counters say what segments say, and each lease's segments are whole and contiguous."""
    mesh.hear()
    for uuid, counter in mesh.counters.items():
        mine = [segment for segment in mesh.segments.values() if uuid in segment.devices]
        used = sum((segment.t1_ms - segment.t0_ms) * segment.gpu_milli for segment in mine)
        assert counter.running_milli_ms == used
        assert counter.upto_ms >= counter.since_ms
    by_lease: dict[int, list[Segment]] = {}
    for segment in mesh.segments.values():
        by_lease.setdefault(segment.lease_seq, []).append(segment)
    for segments in by_lease.values():
        segments.sort(key=lambda segment: segment.seq)
        assert [segment.seq for segment in segments] == list(range(len(segments)))
        for before, after in itertools.pairwise(segments):
            assert before.t1_ms == after.t0_ms
            assert not before.last


def assert_segments_match_ends(mesh: Mesh, orders: list[LeaseOrder]) -> None:
    for order in orders:
        end = mesh.end(order)
        mine = [each for each in mesh.segments.values() if each.lease_seq == order.lease_seq]
        assert len(mine) == end.segments
        last = next(segment for segment in mine if segment.last)
        assert (min(each.t0_ms for each in mine), last.t1_ms) == (end.started_ms, end.at_ms)
