"""Who may publish and subscribe what, and what crosses between accounts?

Derived from the registry: services live in account MESH, agents in NODES, users in CLIENTS; NODES
and CLIENTS reach MESH only through the service and stream exports listed here, because a broker
does not check rights on reply or deliver subjects inside one account. It does not know how JWTs
are made.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.ids import ROOT
from penstock_contracts.message_type import (
    ADMIN,
    CLIENT,
    CORE,
    GATEWAY,
    INVENTORY,
    JOINER,
    MESH_ROLES,
    METERING,
    NODE,
    REGISTRAR,
    SCHEDULER,
    SERVICE,
    MessageType,
)
from penstock_contracts.registry import MESSAGES
from penstock_contracts.streams import BUCKETS, FILES, OBJECT_BUCKETS, OWNERS, SECRETS, STREAMS

MESH = "MESH"
NODES = "NODES"
CLIENTS = "CLIENTS"
PROVISION = "PROVISION"
ACCOUNTS = (MESH, NODES, CLIENTS, PROVISION)
SYSTEM = "SYS"
"""The broker's own account."""

NODE_INBOX_PREFIX = "_INBOX_"
"""Before a node's name: where answers to its own requests arrive. Only that node may listen there;
who could overhear an inbox could have a forged acknowledgement delivered to it.
"""
ORDERS_PREFIX = "$JS.ACK."
"""Before the subjects on which a node takes orders, inside account NODES. A broker refuses to
accept a message whose reply subject begins so; else one node could have the answer to a report
of its own delivered to another node as an order. Services and agents use the plain subjects.
"""

JOINER_INBOX_PREFIX = "_INBOX_"
"""Before the key of whoever asks to join: where its answers arrive, and nobody else's."""
JOINER_PAYLOAD_BYTES_MAX = 4096
JOINER_SUBSCRIPTIONS_MAX = 8

CLIENT_STREAMS = ("FACTS", "LOGS", "SAMPLES", "METERED")
"""What clients may read of the past, by direct get."""

ACCOUNT_OF = {
    **dict.fromkeys((*MESH_ROLES, ADMIN), MESH),
    NODE: NODES,
    CLIENT: CLIENTS,
    JOINER: PROVISION,
}


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """Permissions of one role. Subjects may hold `{{name()}}`, the user's own name (a node's), and
    `{{subject()}}`, its own public key. The last two bound what a stranger can do; None = nothing.
    """

    name: str
    account: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    respond: bool = False
    payload_bytes_max: int | None = None
    subscriptions_max: int | None = None


class Export(msgspec.Struct, frozen=True):
    """`subject` of `account`, offered as `service` (requests in) or `stream` (messages out), to
    `importers`. `many_answers`: one request may be answered by several messages. `hidden_prefix`
    stands before the subject inside `account` only.
    """

    account: str
    subject: str
    kind: str
    importers: tuple[str, ...]
    many_answers: bool = False
    hidden_prefix: str = ""


def own_subject(message: MessageType) -> str:
    """The message's subject with `{node}` as the user's own name, `{key}` as its public key and
    the rest as wildcards."""
    tokens = message.subject.split(".")
    return ".".join((ROOT, *(_OWN.get(t, "*" if t.startswith("{") else t) for t in tokens)))


_OWN = {"{node}": "{{name()}}", "{key}": "{{subject()}}"}


def _direct_get(stream: str) -> tuple[str, ...]:
    return (f"$JS.API.DIRECT.GET.{stream}", f"$JS.API.DIRECT.GET.{stream}.>")


def _reads(stream: str) -> tuple[str, ...]:
    return (
        f"$JS.API.CONSUMER.CREATE.{stream}",
        f"$JS.API.CONSUMER.CREATE.{stream}.>",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.>",
        f"$JS.API.CONSUMER.INFO.{stream}.>",
        f"$JS.API.CONSUMER.DELETE.{stream}.>",
        f"$JS.API.STREAM.INFO.{stream}",
        *_direct_get(stream),
    )


def _small_state(role: str) -> tuple[str, ...]:
    """Secrets and files are the gateway's, as the depot; the rest is the other services'."""
    kept = (SECRETS, FILES)
    keys = [name for name in BUCKETS if (name in kept) is (role == GATEWAY)]
    objects = [name for name in OBJECT_BUCKETS if (name in kept) is (role == GATEWAY)]
    buckets = (*(f"KV_{name}" for name in keys), *(f"OBJ_{name}" for name in objects))
    return (
        "$JS.API.INFO",
        *(f"$KV.{name}.>" for name in keys),
        *(f"$O.{name}.>" for name in objects),
        *(subject for bucket in buckets for subject in _reads(bucket)),
        *(f"$JS.API.STREAM.MSG.GET.{bucket}" for bucket in buckets),
        *(f"$JS.API.STREAM.PURGE.{bucket}" for bucket in buckets),
    )


def _streams_read_by(role: str) -> list[str]:
    names = {m.carrier for m in MESSAGES if role in m.readers} - {CORE, SERVICE}
    if role == SCHEDULER:
        names |= {"JOBS", "FACTS"}
    if role == INVENTORY:
        names |= {"NODES"}
    if role == METERING:
        names |= {"METERED"}
    return sorted(names)


def _mesh_role(name: str) -> Role:
    publish = [m.wildcard for m in MESSAGES if name in m.writers]
    publish += [subject for stream in _streams_read_by(name) for subject in _reads(stream)]
    publish += [f"$JS.API.STREAM.PURGE.{s}" for s, owner in sorted(OWNERS.items()) if owner == name]
    publish += [f"$JS.API.STREAM.INFO.{s}" for s, owner in sorted(OWNERS.items()) if owner == name]
    publish += _small_state(name)
    heard = [m.wildcard for m in MESSAGES if name in m.readers]
    return Role(
        name=name,
        account=MESH,
        publish=tuple(dict.fromkeys(publish)),
        subscribe=("_INBOX.>", *heard),
        respond=True,
    )


def _node_role() -> Role:
    return Role(
        name=NODE,
        account=NODES,
        publish=tuple(own_subject(m) for m in MESSAGES if NODE in m.writers),
        subscribe=(
            f"{NODE_INBOX_PREFIX}{{{{name()}}}}.>",
            *(ORDERS_PREFIX + own_subject(m) for m in MESSAGES if NODE in m.readers),
        ),
        respond=True,
    )


def _joiner_role() -> Role:
    """May ask to become a node, or to go on being one, in the name of its own key."""
    return Role(
        name=JOINER,
        account=PROVISION,
        publish=tuple(own_subject(m) for m in MESSAGES if JOINER in m.writers),
        subscribe=(f"{JOINER_INBOX_PREFIX}{{{{subject()}}}}.>",),
        payload_bytes_max=JOINER_PAYLOAD_BYTES_MAX,
        subscriptions_max=JOINER_SUBSCRIPTIONS_MAX,
    )


def _registrar_role() -> Role:
    """Inventory's second self: may tell the broker the claims of the one account that its name
    says, and nothing else."""
    return Role(
        name=REGISTRAR,
        account=SYSTEM,
        publish=("$SYS.REQ.ACCOUNT.{{name()}}.CLAIMS.UPDATE",),
        subscribe=("_INBOX.>",),
    )


def _client_role() -> Role:
    past = tuple(subject for stream in CLIENT_STREAMS for subject in _direct_get(stream))
    return Role(
        name=CLIENT,
        account=CLIENTS,
        publish=("$JS.API.INFO", *past, *(m.wildcard for m in MESSAGES if CLIENT in m.writers)),
        subscribe=("_INBOX.>", *(m.wildcard for m in MESSAGES if CLIENT in m.readers)),
    )


def _admin_role() -> Role:
    """Creates streams and buckets when a mesh starts, copies them out and back; no service holds
    it."""
    return Role(
        name=ADMIN,
        account=MESH,
        publish=("$JS.API.>", "$JS.SNAPSHOT.>", "$KV.>", "$O.>", f"{ROOT}.query.>"),
        subscribe=("_INBOX.>",),
    )


ROLES: dict[str, Role] = {
    **{name: _mesh_role(name) for name in (SCHEDULER, INVENTORY, METERING, GATEWAY)},
    NODE: _node_role(),
    CLIENT: _client_role(),
    ADMIN: _admin_role(),
    JOINER: _joiner_role(),
    REGISTRAR: _registrar_role(),
}


def _exports() -> tuple[Export, ...]:
    """Requests and stored messages cross as services, live facts and logs as streams.

    A stream is exported by the account it is published in: a broker does not pass on as a stream
    what came in as a service.
    """
    exports: list[Export] = []
    for message in MESSAGES:
        outside_writers = [ACCOUNT_OF[w] for w in message.writers if ACCOUNT_OF[w] != MESH]
        outside_readers = [ACCOUNT_OF[r] for r in message.readers if ACCOUNT_OF[r] != MESH]
        if outside_writers:
            exports.append(Export(MESH, message.wildcard, "service", tuple(outside_writers)))
        for account in outside_readers:
            if account == NODES:
                exports.append(
                    Export(NODES, message.wildcard, "service", (MESH,), hidden_prefix=ORDERS_PREFIX)
                )
            else:
                home = outside_writers[0] if outside_writers else MESH
                exports.append(Export(home, message.wildcard, "stream", (account,)))
    exports.append(Export(MESH, "$JS.API.INFO", "service", (CLIENTS,)))
    for stream in CLIENT_STREAMS:
        for subject in _direct_get(stream):
            exports.append(Export(MESH, subject, "service", (CLIENTS,), many_answers=True))
    return tuple(exports)


EXPORTS: tuple[Export, ...] = _exports()
STREAM_NAMES: tuple[str, ...] = tuple(stream.name for stream in STREAMS)
