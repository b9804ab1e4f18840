"""Which messages are there about files and secrets, and who may say them?

Part of the registry. The depot, which answers, lives in the gateway's process: it may ask on behalf
of every tenant anyway. It does not know how anything is kept.
"""

from __future__ import annotations

from penstock_contracts import depot
from penstock_contracts.message_type import ASKERS, GATEWAY, NODE, SERVICE, MessageType
from penstock_contracts.queries import Answer, Empty

SAME = "the content: repeating changes nothing"
ASKING = "none: asking changes nothing"


def _of_tenants(verb: str, ask: object, answer: object, key: str, summary: str) -> MessageType:
    return MessageType(
        name=f"depot_{verb}",
        subject=f"depot.tenant.{{tenant}}.{verb}",
        carrier=SERVICE,
        payload=ask,
        answer=answer,
        key=key,
        writers=ASKERS,
        readers=(GATEWAY,),
        summary=summary,
    )


def _of_nodes(verb: str, ask: object, answer: object, key: str, summary: str) -> MessageType:
    return MessageType(
        name=f"depot_node_{verb}",
        subject=f"depot.node.{{node}}.{verb}",
        carrier=SERVICE,
        payload=ask,
        answer=answer,
        key=key,
        writers=(NODE,),
        readers=(GATEWAY,),
        summary=summary,
    )


DEPOT: tuple[MessageType, ...] = (
    _of_tenants("list", depot.FilesQuery, Answer[depot.Files], ASKING, "Names a tenant's files."),
    _of_tenants("find", depot.FileQuery, Answer[depot.File], ASKING, "Asks for one file's record."),
    _of_tenants("read", depot.ChunkQuery, Answer[depot.ChunkData], ASKING, "Part of a file."),
    _of_tenants("write", depot.Chunk, Answer[Empty], SAME, "Part of a file that is to be kept."),
    _of_tenants(
        "keep", depot.File, Answer[depot.File], SAME, "The name means these parts from now on."
    ),
    _of_tenants("remove", depot.FileQuery, Answer[Empty], SAME, "Removes a file."),
    _of_tenants("secrets", Empty, Answer[depot.SecretNames], ASKING, "Names a tenant's secrets."),
    _of_tenants(
        "put_secret", depot.PutSecret, Answer[Empty], SAME, "Keeps a secret, sealed for the depot."
    ),
    _of_tenants("remove_secret", depot.SecretQuery, Answer[Empty], SAME, "Removes a secret."),
    MessageType(
        name="depot_key",
        subject="depot.key",
        carrier=SERVICE,
        payload=Empty,
        answer=Answer[depot.SealingKey],
        key=ASKING,
        writers=ASKERS,
        readers=(GATEWAY,),
        summary="Asks what secrets are sealed with.",
    ),
    _of_nodes(
        "find",
        depot.NodeFileQuery,
        Answer[depot.File],
        ASKING,
        "A node asks for an input's record.",
    ),
    _of_nodes("read", depot.NodeChunkQuery, Answer[depot.ChunkData], ASKING, "Part of an input."),
    _of_nodes("write", depot.NodeChunk, Answer[Empty], SAME, "Part of an output."),
    _of_nodes(
        "keep", depot.NodeFile, Answer[depot.File], SAME, "The output's name means these parts."
    ),
    _of_nodes(
        "secrets",
        depot.NodeSecretsQuery,
        Answer[depot.NodeSecrets],
        ASKING,
        "A node asks for its lease's secrets, sealed for it.",
    ),
)
