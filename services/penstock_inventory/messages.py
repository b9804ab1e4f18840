"""What do the bytes that reach inventory mean?

Reports, heartbeats and commands, decoded as far as inventory needs them. Nothing here raises:
what makes no sense is refused where somebody waits, else counted. The node is the one in the
subject, because that is what the credential vouches for. It does not decide anything.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from penstock_bus.port import Message, StoredMessage
from penstock_contracts.errors import MALFORMED, Refusal
from penstock_contracts.ids import ROOT, is_token
from penstock_contracts.nodes import NodeCommand, NodeDescription
from penstock_inventory.core.events import VERBS, Command, Described

log = logging.getLogger(__name__)

_NODE_AT = len(f"{ROOT}.node.")
_HEARTBEAT_END = -len(".heartbeat")
_DESCRIPTION_END = -len(".description")
_COMMAND_AT = len(f"{ROOT}.command.node.")


class _Sender(msgspec.Struct):
    """The one field of a heartbeat that inventory looks at."""

    node: str


_decode_sender = msgspec.json.Decoder(_Sender).decode
_decode_description = msgspec.json.Decoder(NodeDescription).decode
_decode_wish = msgspec.json.Decoder(NodeCommand).decode


class Inbox:
    """Decodes what comes in, and counts what it drops."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()

    def heartbeat(self, message: Message) -> str | None:
        """The node that sent a heartbeat; None for one that is to be dropped."""
        node = message.subject[_NODE_AT:_HEARTBEAT_END]
        try:
            claimed = _decode_sender(message.payload).node
        except MALFORMED:
            self.counters["heartbeats_undecodable"] += 1
            return None
        if claimed != node:
            self.counters["heartbeats_misnamed"] += 1
            return None
        return node

    def description(self, message: StoredMessage) -> Sequence[Any]:
        """What a node says it is."""
        node = message.subject[_NODE_AT:_DESCRIPTION_END]
        try:
            description = _decode_description(message.payload)
        except MALFORMED as error:
            return self._drop("descriptions_undecodable", message, node, str(error))
        fault = _fault_of(description, node)
        if fault is not None:
            return self._drop("descriptions_refused", message, node, fault)
        return (Described(description),)

    def command(self, message: Message) -> Command | Refusal:
        """An operator's wish, or why it cannot be understood."""
        node, _, verb = message.subject[_COMMAND_AT:].partition(".")
        if verb not in VERBS:
            return Refusal("unknown_verb", f"No verb {verb!r}; there are {', '.join(VERBS)}.")
        try:
            wish = _decode_wish(message.payload or b"{}")
        except msgspec.ValidationError as error:
            return Refusal("invalid_field", str(error))
        except MALFORMED as error:
            return Refusal("malformed_json", f"The payload is not JSON: {error}")
        return Command(node, verb, wish.reason, wish.deadline_s)

    def _drop(self, what: str, message: StoredMessage, node: str, why: str) -> Sequence[Any]:
        self.counters[what] += 1
        log.error("report %d dropped: %s", message.seq, why, extra={"node": node})
        return ()


def _fault_of(description: NodeDescription, node: str) -> str | None:
    """What is wrong with a description that its type cannot say; None when it may stand."""
    devices = description.devices
    if description.node != node or not is_token(node):
        return f"it describes {description.node!r}"
    if len({device.uuid for device in devices}) != len(devices):
        return "two devices have the same UUID"
    return None
