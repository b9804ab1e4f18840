"""Does every report fit into a message of the broker?"""

from __future__ import annotations

import msgspec

from agent.builders import a_node, started
from penstock_contracts.leases import Described, Exited, NodeReport, Preparing, ReportItem
from penstock_node_agent.core.machine import handle
from penstock_node_agent.telling.packing import BYTES_MAX, ITEMS_MAX, next_report


def steps(count: int, message: str) -> list[ReportItem]:
    return [
        Exited(
            job_id="J", attempt=1, rank=0, lease_seq=n, at_ms=n, reason="spawn_failed",
            message=message,
        )
        for n in range(count)
    ]  # fmt: skip


def sizes(items: list[ReportItem]) -> list[int]:
    """How many items each report has until all are told; each is checked for its bytes."""
    state = a_node()
    state.reports = list(items)
    found, told = [], []
    while state.reports:
        payload, count = next_report(state)
        assert len(payload) <= BYTES_MAX
        told += msgspec.json.decode(payload, type=NodeReport).items
        del state.reports[:count]
        found.append(count)
    assert told == items
    return found


def test_a_report_is_bounded_in_items_and_in_bytes() -> None:
    assert sizes(steps(ITEMS_MAX + 1, "")) == [ITEMS_MAX, 1]
    assert len(sizes(steps(ITEMS_MAX, "\N{BELL}" * 500))) > 2, "six bytes a character"


def test_a_report_ends_before_a_description() -> None:
    state = a_node()
    first = Preparing(job_id="J", attempt=1, rank=0, lease_seq=1, at_ms=1)
    handle(state, started())
    description = next(item for item in state.reports if isinstance(item, Described))
    state.reports = [first, description, first]
    assert next_report(state)[1] == 1
