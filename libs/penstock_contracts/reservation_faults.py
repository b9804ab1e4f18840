"""What is wrong with the times for which nodes are set aside?

Part of the faults of a policy. It does not know which nodes there are, save by what it is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from penstock_contracts.bounds import CONTROL
from penstock_contracts.queue_policy import PolicyFault, Reservation

PART = "reservations"
NodeLabels = Mapping[str, Mapping[str, str]]


def reservation_faults(
    reservations: tuple[Reservation, ...], node_labels: NodeLabels
) -> Iterator[PolicyFault]:
    """`node_labels`: of the nodes that are known."""
    names_any = any(one.nodes for one in reservations)
    known = node_labels if names_any else {}
    claims = [_nodes_of(one, known) for one in reservations]
    for index, one in enumerate(reservations):
        for code, sentence, field in _own_faults(one):
            yield PolicyFault(code, f"reservation {one.name}: {sentence}", PART, index, field)
        for other, claim in zip(reservations[:index], claims, strict=False):
            if where := _meeting(one, other, claims[index], claim):
                sentence = f"reservation {one.name}: {other.name} has {where} at the same time"
                field = "nodes" if one.nodes else "node_labels"
                yield PolicyFault("reservations_overlap", sentence, PART, index, field)
                break


def _nodes_of(one: Reservation, node_labels: NodeLabels) -> frozenset[str]:
    """Those it names, or, of those that are known, those that have its labels."""
    if one.nodes or not one.node_labels:
        return frozenset(one.nodes)
    wanted = one.node_labels.items()
    return frozenset(node for node, labels in node_labels.items() if wanted <= labels.items())


def _own_faults(one: Reservation) -> Iterator[tuple[str, str, str]]:
    if one.end_ms <= one.start_ms:
        yield "ends_before_start", "it ends before it starts, or as it does", "end_ms"
    if not one.nodes and not one.node_labels:
        yield "reserves_nothing", "say which nodes, or the node_labels that they have", "nodes"
    if one.nodes and one.node_labels:
        yield "reserves_nothing", "say either nodes or node_labels, not both", "node_labels"
    if one.project and not one.tenant:
        yield "project_without_tenant", f"whose project {one.project} is is not said", "tenant"
    if any(CONTROL.search(text) for label in one.node_labels.items() for text in label):
        yield "invalid_field", "node_labels must not contain control characters", "node_labels"


def _meeting(
    one: Reservation, other: Reservation, nodes: frozenset[str], others: frozenset[str]
) -> str:
    """Which nodes both have at the same time, in words; empty = none."""
    if one.start_ms >= other.end_ms or other.start_ms >= one.end_ms:
        return ""
    if one.nodes or other.nodes:
        return "" if nodes.isdisjoint(others) else f"node {min(nodes & others)}"
    ours, theirs = one.node_labels, other.node_labels
    if any(theirs.get(key, value) != value for key, value in ours.items()):
        return ""
    return "nodes with the same labels"
