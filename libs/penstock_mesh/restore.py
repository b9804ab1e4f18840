"""How does a backup become a mesh again?

Into an empty broker and no ledger only: the streams as they were, sequence by sequence, then the
ledger. Services start after that, and find a moment of the past. It does not know where the broker
came from.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from penstock_bus.nats import NatsBus
from penstock_bus.nats_snapshots import ERROR_STREAM_NOT_FOUND, StreamImage
from penstock_bus.port import BusRefusal
from penstock_contracts.streams import BUCKETS, OBJECT_BUCKETS, STREAMS
from penstock_mesh.backup_ledger import check_empty, restore_ledger
from penstock_mesh.backup_manifest import MESH, BackupError, Manifest, StreamPart
from penstock_mesh.backup_manifest import STREAMS as STREAM_FILES
from penstock_mesh.preparation import make_storage
from penstock_mesh.private_file import PRIVATE_FILE_MODE, make_private_directory

LOCKS = "KV_LOCKS"
"""Made by the mesh that runs already, or by none."""

Report = Callable[[str], None]


async def restore_streams(
    bus: NatsBus, source: Path, manifest: Manifest, report: Report, replicas: int | None = None
) -> None:
    """Fill a broker that holds nothing. `replicas` None: as many as there were. Raises BackupError,
    BusRefusal, Outage."""
    await _clear_empty_streams(bus)
    for part in manifest.streams:
        config = part.config if replicas is None else part.config | {"num_replicas": replicas}
        image = StreamImage(config, part.state)
        await bus.snapshots.restore(part.name, image, _chunks(source, part))
        state = await bus.stream_state(part.name)
        found = (state.first_seq, state.last_seq, state.messages)
        if found != (part.first_seq, part.last_seq, part.messages):
            expected = f"{part.first_seq} to {part.last_seq} ({part.messages} messages)"
            raise BackupError(
                f"{part.name} holds {found[0]} to {found[1]} ({found[2]} messages) now; "
                f"the backup says {expected}"
            )
        report(f"{part.name}: {part.messages} messages")
    await make_storage(bus, replicas or 1)


async def restore_database(
    source: Path, manifest: Manifest, url: str | None, report: Report
) -> None:
    """Raises BackupError."""
    if manifest.ledger is not None and url is not None:
        report("ledger")
        await asyncio.to_thread(restore_ledger, manifest.ledger, source, url)


def check_database(manifest: Manifest, url: str | None) -> None:
    """Before anything is changed. Raises BackupError."""
    if manifest.ledger is not None:
        if url is None:
            raise BackupError(
                f"the backup holds a ledger of {manifest.ledger.kind}: say --database where it goes"
            )
        check_empty(manifest.ledger, url)


def restore_mesh_files(source: Path, data: Path) -> None:
    """Keys and credentials into a new data directory."""
    kept = source / MESH
    make_private_directory(data)
    for path in sorted(kept.rglob("*")):
        copy = data / path.relative_to(kept)
        if path.is_dir():
            make_private_directory(copy)
        else:
            shutil.copyfile(path, copy)
            copy.chmod(PRIVATE_FILE_MODE)


async def _clear_empty_streams(bus: NatsBus) -> None:
    """Streams that were made and never used make way; any other ends the restore."""
    names = [stream.name for stream in STREAMS]
    names += [f"KV_{name}" for name in BUCKETS] + [f"OBJ_{name}" for name in OBJECT_BUCKETS]
    there, used = [], []
    for name in names:
        try:
            state = await bus.stream_state(name)
        except BusRefusal as error:
            if error.code != ERROR_STREAM_NOT_FOUND:
                raise
            continue
        there.append(name)
        if state.last_seq > 0:
            used.append(name)
    if used:
        raise BackupError(
            f"this mesh is not empty: {', '.join(used)} hold or held something; "
            "restore into a new one"
        )
    for name in there:
        await bus.snapshots.delete(name)


def _chunks(source: Path, part: StreamPart) -> Iterator[bytes]:
    with open(source / STREAM_FILES / part.name, "rb") as file:
        for length in part.chunks:
            yield file.read(length)
