"""Does the list of nodes contradict itself?

Invariants over committed state. It does not mend anything.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock_contracts.nodes import ALIVE, LOST, SUSPECT
from penstock_contracts.queries import Finding, InventoryAudit
from penstock_inventory.core.node import Node


def audit(nodes: Mapping[str, Node], seq: int) -> InventoryAudit:
    """Every violation, each named."""
    findings: list[Finding] = []
    owner: dict[str, str] = {}
    for name, node in sorted(nodes.items()):
        findings += _check(name, node)
        for device in node.description.devices:
            other = owner.setdefault(device.uuid, name)
            if other != name:
                findings.append(
                    Finding(
                        "device_claimed_twice",
                        f"Device {device.uuid} is claimed by {other} and by {name}.",
                    )
                )
    return InventoryAudit(
        seq=seq,
        nodes=len(nodes),
        devices=sum(len(node.description.devices) for node in nodes.values()),
        findings=tuple(findings),
    )


def _check(name: str, node: Node) -> list[Finding]:
    findings = []
    if node.description.node != name:
        findings.append(
            Finding("node_misnamed", f"{name} describes itself as {node.description.node}.")
        )
    if node.liveness not in (ALIVE, SUSPECT, LOST):
        findings.append(Finding("liveness_unknown", f"{name} is {node.liveness!r}."))
    if node.draining and not node.cordoned:
        findings.append(Finding("drain_without_cordon", f"{name} drains but is not cordoned."))
    return findings
