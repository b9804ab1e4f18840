"""What is said about the files and secrets that tenants keep for their jobs?

Clients put and get files of a tenant in chunks; nodes do so for a lease that they hold, and only
what its job names. A secret leaves its tenant sealed for the depot, and the depot sealed for the
node that asks: nothing on the way, and nothing that is stored, can be read. It does not know how
any of it is kept.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from penstock_contracts.bounds import Name, Number
from penstock_contracts.work import Inputs, Outputs, Secrets

CHUNK_BYTES = 192 * 1024
"""A quarter more as text: well below the broker's largest message, 1 MiB."""
FILE_BYTES_MAX = 8 << 30
CHUNKS_MAX = FILE_BYTES_MAX // CHUNK_BYTES + 1
SECRET_BYTES_MAX = 64 * 1024
SECRETS_PER_TENANT_MAX = 1_000
PAGE_FILES = 500

FileName = Annotated[
    str, Meta(min_length=1, max_length=256, pattern=r"^[^\x00-\x20\x7f/][^\x00-\x1f\x7f]*$(?!\n)")
]
"""Any text without control characters that does not begin with a space or a slash."""
SecretName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$(?!\n)")]
Upload = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$(?!\n)")]
"""Drawn by whoever uploads; another for every try."""
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
"""A public key to seal for (X25519)."""
Index = Annotated[int, Meta(ge=0, le=CHUNKS_MAX)]


class LeaseName(msgspec.Struct, frozen=True, kw_only=True):
    """By which lease a node asks. The node's own name is in the subject."""

    lease_seq: Number
    job_id: Name
    attempt: Number
    rank: Number


class LeaseGrant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the scheduler says of a lease that a node holds now, of the attempt that counts."""

    tenant: Name
    inputs: Inputs = ()
    outputs: Outputs = ()
    secrets: Secrets = ()


class LeaseQuery(LeaseName, frozen=True, kw_only=True):
    """`query.scheduler.lease`: does this node hold it?"""

    node: Name


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it is kept. `upload` names its chunks."""

    name: FileName
    bytes: Annotated[int, Meta(ge=0, le=FILE_BYTES_MAX)]
    chunks: Annotated[int, Meta(ge=0, le=CHUNKS_MAX)]
    sha256: Digest
    upload: Upload
    stored_ms: Number = 0


class FilesQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """Files of a tenant in the order of their names, behind `after`."""

    after: Annotated[str, Meta(max_length=256)] = ""


class Files(msgspec.Struct, frozen=True):
    files: Annotated[tuple[File, ...], Meta(max_length=PAGE_FILES)]
    more: bool = False


class FileQuery(msgspec.Struct, frozen=True):
    name: FileName


class ChunkQuery(msgspec.Struct, frozen=True):
    name: FileName
    upload: Upload
    index: Index


class Chunk(msgspec.Struct, frozen=True):
    """Part of a file: `CHUNK_BYTES` long, but for the last."""

    name: FileName
    upload: Upload
    index: Index
    data: Annotated[bytes, Meta(max_length=CHUNK_BYTES)]


class ChunkData(msgspec.Struct, frozen=True):
    data: bytes


class NodeFileQuery(LeaseName, frozen=True, kw_only=True):
    name: FileName


class NodeChunkQuery(LeaseName, frozen=True, kw_only=True):
    part: ChunkQuery


class NodeChunk(LeaseName, frozen=True, kw_only=True):
    part: Chunk


class NodeFile(LeaseName, frozen=True, kw_only=True):
    file: File


class SealingKey(msgspec.Struct, frozen=True):
    """What secrets are sealed with for the depot."""

    key: Key


class PutSecret(msgspec.Struct, frozen=True):
    """`sealed`: a `SecretText` as JSON, for the depot's key. What stands in it is what counts."""

    name: SecretName
    sealed: Annotated[bytes, Meta(max_length=2 * SECRET_BYTES_MAX)]


class SecretText(msgspec.Struct, frozen=True):
    """The text of a secret, and whose it is: sealed for one, it is of no use to another."""

    tenant: Name
    name: SecretName
    text: Annotated[str, Meta(max_length=SECRET_BYTES_MAX)]


class SecretQuery(msgspec.Struct, frozen=True):
    name: SecretName


class SecretView(msgspec.Struct, frozen=True):
    """All that can be seen of a secret."""

    name: str
    stored_ms: int


class SecretNames(msgspec.Struct, frozen=True):
    secrets: tuple[SecretView, ...]


class NodeSecretsQuery(LeaseName, frozen=True, kw_only=True):
    """All secrets that the lease's job names. `key`: what the answer is sealed with; drawn for this
    question."""

    key: Key


class NodeSecrets(msgspec.Struct, frozen=True):
    """`sealed`: the texts by name, as JSON."""

    sealed: bytes
