"""What do descriptions, heartbeats, commands and questions of any kind do to inventory?

The real inbox, core, presence and answers. Also demanded: every entry can be read back and is small
enough for the broker, and nobody describes another node. It does not know the bus.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from fuzz.link_targets import check_answer
from fuzz.mutation import Given
from fuzz.runner import Violation, check_refusal, check_size
from inventory.builders import NOW_NS, a_description, a_heartbeat
from penstock_bus.port import Message, StoredMessage
from penstock_contracts.errors import Refusal
from penstock_contracts.ids import ROOT
from penstock_contracts.nodes import Device, NodeCommand, NodeFact
from penstock_contracts.queries import NodeQuery, NodesQuery
from penstock_inventory.answers import accept, answer_audit, answer_node, answer_nodes, refuse
from penstock_inventory.core.events import Command, Described, Silent
from penstock_inventory.core.fleet import Fleet
from penstock_inventory.core.presence import Presence
from penstock_inventory.messages import Inbox
from penstock_runtime.entries import encode_entry, entry_decoder
from penstock_runtime.transition import Transition

encode = msgspec.json.encode
_decode = entry_decoder(NodeFact)
NEXT_SEQ = 50
NODES = ("n1", "n2", "n3")
DEVICE = Device(
    uuid="GPU-1", index=0, model="H100", memory_mib=81_559, numa_node=1, health_reason="ok"
)


def prepared() -> bytes:
    """Three nodes: one alive, one cordoned, one lost."""
    fleet = Fleet()
    events = [
        *(Described(a_description(node, labels={"rack": "r1"})) for node in NODES),
        Command("n2", "drain", "disk", 60),
        Silent("n3", "lost", 20_000),
    ]
    for event in events:
        for fact in fleet.decide(event, NOW_NS, 1):
            fleet.apply(fact, 1, NOW_NS)
    return fleet.snapshot()


class InventoryTarget:
    """What the ways into inventory have in common."""

    name = ""
    messages: tuple[str, ...] = ()
    pure = False
    words: Sequence[str | int] = (
        *NODES, "stranger", "boot-1", "boot-2", "GPU-n1-0", "GPU-n2-0", "alive", "lost", "cordon",
        "uncordon", "drain", "fence", "remove", 0, 1, 60, 5,
    )  # fmt: skip

    def __init__(self) -> None:
        self._prepared = prepared()
        self.reset()

    def reset(self) -> None:
        self.fleet = Fleet()
        self.fleet.restore(self._prepared)
        self.inbox = Inbox()
        self.presence = Presence(suspect_after_ms=3_000, lost_after_ms=10_000)
        self.presence.match(self.fleet.nodes, NOW_NS)
        self.seq = NEXT_SEQ

    def digest(self) -> object:
        return self.fleet.snapshot()

    def commit(self, *events: Any) -> list[Any]:
        transition = Transition(self.fleet, now_ns=NOW_NS, next_seq=self.seq, cursors={}, marks={})
        for event in events:
            transition.take(event)
        transition.close()
        facts: list[Any] = []
        for draft in transition.drafts:
            payload = encode_entry(
                term=1, writer="w", entry_id="e", now_ns=1, cursors={}, facts=draft.encoded
            )
            check_size("an entry", payload)
            entry = _decode(StoredMessage("penstock.v1.journal.nodes", payload, self.seq, 1))
            if entry is None or list(entry.facts) != draft.facts:
                raise Violation("the entry does not say what was decided")
            facts += draft.facts
            self.seq += 1
        check_answer("query_inventory_audit", answer_audit(self.fleet, self.seq))
        return facts


class Descriptions(InventoryTarget):
    name = "inventory descriptions"
    messages = ("node_description",)

    def valid(self) -> Sequence[Given]:
        described = [
            a_description("n1", devices=(DEVICE,), labels={"rack": "r1"}, driver="nvml"),
            a_description("n2", boot_id="boot-2", version="0.1.0"),
            a_description("n4", advertise_address="10.0.0.1"),
        ]
        return [Given(f"{ROOT}.node.{said.node}.description", encode(said)) for said in described]

    def give(self, given: Given) -> bool:
        if not given.subject.startswith(f"{ROOT}.node.") or given.subject.count(".") != 4:
            return False  # the stream takes no such subject
        node = given.subject.split(".")[3]
        if not given.subject.endswith(".description"):
            return False
        message = StoredMessage(given.subject, given.payload, self.seq, NOW_NS)
        events = self.inbox.description(message)
        for event in events:
            if event.description.node != node:
                raise Violation(f"{node} describes {event.description.node}")
        return bool(self.commit(*events))


class Wishes(InventoryTarget):
    """Commands and heartbeats: what comes by core subjects."""

    name = "inventory commands"
    messages = ("node_command", "node_heartbeat")

    def valid(self) -> Sequence[Given]:
        wish = encode(NodeCommand("disk swap", 60))
        verbs = ("cordon", "uncordon", "drain", "fence", "remove")
        return [
            *(
                Given(f"{ROOT}.command.node.{node}.{verb}", wish)
                for node in NODES
                for verb in verbs
            ),
            *(Given(f"{ROOT}.node.{node}.heartbeat", a_heartbeat(node)) for node in NODES),
        ]

    def give(self, given: Given) -> bool:
        message = Message(given.subject, given.payload, "_INBOX.x")
        tokens = given.subject.split(".")
        if len(tokens) == 5 and tokens[-1] == "heartbeat":
            node = self.inbox.heartbeat(message)
            if node is not None and node != tokens[3]:
                raise Violation(f"a heartbeat on {given.subject} counts for {node}")
            if node is not None:
                self.presence.hear(node, NOW_NS)
            return False
        if len(tokens) != 6 or not given.subject.startswith(f"{ROOT}.command.node."):
            return False
        command = self.inbox.command(message)
        if isinstance(command, Refusal):
            check_answer("node_command", refuse(command))
            return False
        facts = self.commit(command)
        refusal = self.fleet.refusal_of(command) if not facts else None
        if refusal is not None:
            check_refusal(refusal)
            check_answer("node_command", refuse(refusal))
        view = self.fleet.view(command.node, 5)
        if view is not None:
            check_answer("node_command", accept(view))
        return bool(facts)


class Questions(InventoryTarget):
    name = "inventory queries"
    messages = tuple(f"query_inventory_{what}" for what in ("nodes", "node", "audit"))
    pure = True

    def valid(self) -> Sequence[Given]:
        asked = {"nodes": NodesQuery("n1"), "node": NodeQuery("n1"), "audit": {}}
        return [
            Given(f"{ROOT}.query.inventory.{what}", encode(query)) for what, query in asked.items()
        ]

    def give(self, given: Given) -> bool:
        message = Message(given.subject, given.payload, "_INBOX.x")
        what = given.subject.removeprefix(f"{ROOT}.query.inventory.")
        handlers: dict[str, Callable[[], bytes]] = {
            "nodes": lambda: answer_nodes(self.fleet, 5, lambda node: 5, message),
            "node": lambda: answer_node(self.fleet, lambda node: 5, message),
            "audit": lambda: answer_audit(self.fleet, 5),
        }
        return what in handlers and check_answer(f"query_inventory_{what}", handlers[what]())
