"""What do inventory's tests make nodes, events and messages of?"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock_bus.port import Message, StoredMessage
from penstock_contracts.nodes import Device, Heartbeat, NodeDescription
from penstock_inventory.core.fleet import Fleet

NOW_NS = 1_700_000_000_000_000_000


def a_description(node: str = "n1", **changes: Any) -> NodeDescription:
    values: dict[str, Any] = {
        "node": node,
        "boot_id": "boot-1",
        "joined_ms": 5,
        "cpu_milli": 32_000,
        "memory_mib": 65_536,
        "devices": (Device(uuid=f"GPU-{node}-0", index=0, model="H100"),),
    }
    return NodeDescription(**(values | changes))


def a_fleet(*facts: Any) -> Fleet:
    """A fleet that has folded the facts, each at its own sequence."""
    fleet = Fleet()
    for seq, fact in enumerate(facts, 1):
        fleet.apply(fact, seq, NOW_NS)
    return fleet


def as_json(description: NodeDescription) -> bytes:
    return msgspec.json.encode(description)


def a_heartbeat(node: str) -> bytes:
    return msgspec.json.encode(
        Heartbeat(node=node, boot_id="boot-1", sent_boot_ns=1, as_of=0, digest="")
    )


def as_stored(node: str, payload: bytes) -> StoredMessage:
    return StoredMessage(f"penstock.v1.node.{node}.description", payload, 1, NOW_NS)


def as_heartbeat(node: str, payload: bytes) -> Message:
    return Message(f"penstock.v1.node.{node}.heartbeat", payload)


def as_command(node: str, verb: str, payload: bytes = b"{}") -> Message:
    return Message(f"penstock.v1.command.node.{node}.{verb}", payload, "_INBOX.x")
