"""What does inventory answer when asked?

One handler per query, each from committed state. It does not know how questions travel.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from penstock_bus.port import Message
from penstock_contracts.errors import MALFORMED, Refusal
from penstock_contracts.nodes import NodeView
from penstock_contracts.queries import Answer, NodeQuery, NodesQuery
from penstock_inventory.core.audit import audit
from penstock_inventory.core.fleet import Fleet

PAGE_BYTES_MAX = 768 * 1024
"""An answer must fit into one message of the broker (1 MiB); more nodes come with a next page."""

SeenAge = Callable[[str], int | None]

_encode = msgspec.json.Encoder().encode
_decode_node_query = msgspec.json.Decoder(NodeQuery).decode
_decode_nodes_query = msgspec.json.Decoder(NodesQuery).decode


class _Page(msgspec.Struct, omit_defaults=True):
    """`NodesView` with nodes that are encoded already."""

    seq: int
    nodes: list[msgspec.Raw]
    more: bool = False


def answer_nodes(fleet: Fleet, seq: int, seen_age: SeenAge, message: Message) -> bytes:
    """`query.inventory.nodes`: by name, behind `after`, as many as one message holds."""
    try:
        after = _decode_nodes_query(message.payload or b"{}").after
    except MALFORMED as error:
        return refuse(_refusal_of(error))
    page = _Page(seq, [])
    size = 0
    for name in sorted(name for name in fleet.nodes if name > after):
        data = _encode(fleet.view(name, seen_age(name)))
        size += len(data) + 1
        if size > PAGE_BYTES_MAX and page.nodes:
            page.more = True
            break
        page.nodes.append(msgspec.Raw(data))
    return _encode(Answer(value=page))


def answer_node(fleet: Fleet, seen_age: SeenAge, message: Message) -> bytes:
    """`query.inventory.node`."""
    try:
        name = _decode_node_query(message.payload).node
    except MALFORMED as error:
        return refuse(_refusal_of(error))
    view = fleet.view(name, seen_age(name))
    if view is None:
        return refuse(Refusal("unknown_node", f"There is no node {name[:64]}.", "node"))
    return accept(view)


def answer_audit(fleet: Fleet, seq: int) -> bytes:
    """`query.inventory.audit`."""
    return _encode(Answer(value=audit(fleet.nodes, seq)))


def accept(view: NodeView) -> bytes:
    return _encode(Answer(value=view))


def refuse(refusal: Refusal) -> bytes:
    return _encode(Answer[NodeView](refusal=refusal))


def _refusal_of(error: Exception) -> Refusal:
    if isinstance(error, msgspec.ValidationError):
        return Refusal("invalid_field", str(error))
    return Refusal("malformed_json", f"The payload is not JSON: {error}")
