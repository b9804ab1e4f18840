"""What is in a backup, and is it whole?

The manifest: which streams with which sequences, which ledger up to where, which files, each with
its checksum. It is written last: a directory without it is no backup. It does not know how any of
it is taken or put back.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec

from penstock_mesh.private_file import make_private_directory, write_private

FORMAT = 1
MANIFEST = "manifest.json"
STREAMS = "streams"
MESH = "mesh"
SQLITE_LEDGER = "ledger.sqlite"
POSTGRESQL_LEDGER = "ledger.pgdump"
READ_BYTES = 1 << 20


class BackupError(Exception):
    """A backup cannot be taken, read or put back; the sentence says why."""


class StreamPart(msgspec.Struct, frozen=True, kw_only=True):
    """One stream. `chunks` are the lengths of what the broker sent, one after the other in the
    file; `config` and `state` as the broker said."""

    name: str
    first_seq: int
    last_seq: int
    messages: int
    chunks: tuple[int, ...]
    config: dict[str, Any]
    state: dict[str, Any]


class LedgerPart(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` is sqlite or postgresql; `cursors`: up to where it had read each stream at least."""

    kind: str
    file: str
    cursors: dict[str, int]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`checksums` holds the SHA-256 of every other file, by its path below the directory."""

    format: int = FORMAT
    penstock: str
    made_ms: int
    ledger: LedgerPart | None
    streams: tuple[StreamPart, ...]
    checksums: dict[str, str]

    @property
    def summary(self) -> dict[str, Any]:
        """For a person or a script."""
        return {
            "made_ms": self.made_ms,
            "penstock": self.penstock,
            "ledger": None if self.ledger is None else self.ledger.kind,
            "ledger_cursors": {} if self.ledger is None else self.ledger.cursors,
            "streams": {
                part.name: {
                    "first_seq": part.first_seq,
                    "last_seq": part.last_seq,
                    "messages": part.messages,
                }
                for part in self.streams
            },
            "files": len(self.checksums),
        }


def prepare_target(target: Path) -> None:
    """Raises BackupError when something is there already."""
    if target.exists() and any(target.iterdir()):
        raise BackupError(f"{target} is not empty: a backup goes into a directory of its own")
    make_private_directory(target)
    make_private_directory(target / STREAMS)


def write_manifest(target: Path, manifest: Manifest) -> None:
    write_private(target / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(descriptor)
    os.close(descriptor)


def read_manifest(source: Path) -> Manifest:
    """Raises BackupError when it is no whole backup: every checksum is compared."""
    try:
        manifest = msgspec.json.decode((source / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise BackupError(f"{source} is no backup, or one that was not finished") from None
    except (OSError, msgspec.DecodeError) as error:
        raise BackupError(f"{source / MANIFEST} cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise BackupError(f"{source} has format {manifest.format}; this Penstock reads {FORMAT}")
    for name, expected in manifest.checksums.items():
        try:
            found = checksum(source / name)
        except OSError as error:
            raise BackupError(f"{source / name} cannot be read: {error}") from error
        if found != expected:
            raise BackupError(f"{source / name} is damaged: its checksum does not match")
    return manifest


def checksums_below(target: Path) -> dict[str, str]:
    """Of every file that is there now."""
    files = sorted(path for path in target.rglob("*") if path.is_file())
    return {str(path.relative_to(target)): checksum(path) for path in files}


def checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
