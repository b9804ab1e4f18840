"""What is declared about a kind of message, and which roles are there?

It does not know which messages exist: that is `registry`.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.ids import ROOT

CORE = "core"
SERVICE = "request-reply"

CLIENT = "client"
NODE = "node"
SCHEDULER = "scheduler"
INVENTORY = "inventory"
METERING = "metering"
GATEWAY = "gateway"
ADMIN = "admin"
JOINER = "joiner"
REGISTRAR = "registrar"

MESH_ROLES = (SCHEDULER, INVENTORY, METERING, GATEWAY)
ASKERS = (CLIENT, GATEWAY)


class MessageType(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of message. `subject` is a template below the root with `{parameters}`; `carrier`
    is a stream's name, `core`, or `request-reply`; `payload` None = raw bytes; `answer` for
    request-reply; `key` says what makes two of them the same; `many` names the
    field that holds several payloads in one message.
    """

    name: str
    subject: str
    carrier: str
    payload: object
    key: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    summary: str
    answer: object = None
    many: str = ""

    @property
    def template(self) -> str:
        return f"{ROOT}.{self.subject}"

    @property
    def wildcard(self) -> str:
        """The template with every parameter as `*`."""
        tokens = self.subject.split(".")
        return ".".join((ROOT, *("*" if token.startswith("{") else token for token in tokens)))
