"""How is a working mesh copied so that everything in the copy agrees?

Nothing stops. What refers to something else is fixed before what it refers to: cursors of readers,
then the ledger, then snapshots, then the journals, then the journals' inputs. So in the copy no
cursor lies behind the end of its stream. That none lies before a stream's beginning (purged while
the copy was taken) is checked, and the copy is taken again if so. The moment of each stream is
fixed by a request to the broker; the bytes follow.

It does not know how a ledger is copied, nor how streams are put back.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

from penstock_bus.nats import NatsBus
from penstock_bus.nats_snapshots import Snapshot
from penstock_contracts.streams import FILES, READERS, SECRETS
from penstock_mesh.backup_ledger import copy_ledger
from penstock_mesh.backup_manifest import (
    MESH,
    STREAMS,
    BackupError,
    LedgerPart,
    Manifest,
    StreamPart,
    checksums_below,
    prepare_target,
    write_manifest,
)
from penstock_mesh.data_directory import DataDirectory
from penstock_mesh.private_file import PRIVATE_FILE_MODE, make_private_directory

CURSORS, SNAPSHOTS = "KV_CURSORS", "OBJ_SNAPSHOTS"
IN_ORDER = (
    *(SNAPSHOTS, "USAGE", "BUDGETS", "METERED", "FACTS", "JOBS", "NODES"),
    *("REQUESTS", "REPORTS", "DESCRIPTIONS"),
    f"KV_{SECRETS}",
)
"""Each may refer only to what stands behind it. A service's lock is left behind: nobody leads a
mesh that does not run; and samples are forgotten within minutes."""
LOGS, KEPT = "LOGS", f"OBJ_{FILES}"
TRIES = 5
RETRY_S = 1.0

Report = Callable[[str], None]


class Wanted:
    """What to copy. `database` None: no ledger. `data`: the directory with the mesh's keys, or
    None."""

    def __init__(
        self, *, database: str | None, data: Path | None, logs: bool, files: bool = False
    ) -> None:
        self.database = database
        self.data = data
        self.streams = (*IN_ORDER, *([LOGS] if logs else []), *([KEPT] if files else []))


async def back_up(bus: NatsBus, target: Path, wanted: Wanted, report: Report) -> Manifest:
    """Copy the mesh into an empty directory. Raises BackupError, BusRefusal, Outage."""
    if wanted.data is not None and not DataDirectory(wanted.data).secrets():
        raise BackupError(f"there are no keys in {wanted.data}: say --data, or --no-keys")
    prepare_target(target)
    for attempt in range(1, TRIES + 1):
        ledger, streams, missing = await _copy(bus, target, wanted, report)
        if not missing:
            break
        if attempt == TRIES:
            raise BackupError(f"the mesh discards faster than it can be copied: {missing}")
        report(f"copying again: {missing}")
        await asyncio.sleep(RETRY_S)
    if wanted.data is not None:
        copy_mesh_files(wanted.data, target / MESH)
    report("checksums")
    manifest = Manifest(
        penstock=version("penstock"),
        made_ms=time.time_ns() // 1_000_000,
        ledger=ledger,
        streams=tuple(streams),
        checksums=await asyncio.to_thread(checksums_below, target),
    )
    write_manifest(target, manifest)
    return manifest


async def _copy(
    bus: NatsBus, target: Path, wanted: Wanted, report: Report
) -> tuple[LedgerPart | None, list[StreamPart], str]:
    """The parts, and what is missing from them (see `_missing`)."""
    cursors = await _fetch(await _begin(bus, CURSORS), CURSORS, target, report)
    snapshots = await _newest_snapshots(bus)  # the copy will hold these, or newer ones
    ledger = None
    if wanted.database is not None:
        report("ledger")
        ledger = await asyncio.to_thread(copy_ledger, wanted.database, target)
    begun = [(name, await _begin(bus, name)) for name in wanted.streams]
    async with asyncio.TaskGroup() as tasks:
        fetching = [
            tasks.create_task(_fetch(snapshot, name, target, report)) for name, snapshot in begun
        ]
    streams = [cursors, *(task.result() for task in fetching)]
    return ledger, streams, _missing(ledger, streams, snapshots)


async def _begin(bus: NatsBus, name: str) -> Snapshot:
    snapshot = await bus.snapshots.begin(name)
    if snapshot is None:
        raise BackupError(f"there is no stream {name}: is this a mesh?")
    return snapshot


async def _fetch(snapshot: Snapshot, name: str, target: Path, report: Report) -> StreamPart:
    lengths = []
    with _new_file(target / STREAMS / name) as file:
        async for chunk in snapshot.chunks():
            file.write(chunk)
            lengths.append(len(chunk))
    state = snapshot.image.state
    last_seq, messages = int(state["last_seq"]), int(state["messages"])
    report(f"{name}: {messages} messages, {sum(lengths)} bytes")
    return StreamPart(
        name=name,
        first_seq=int(state["first_seq"]) if messages else last_seq + 1,
        last_seq=last_seq,
        messages=messages,
        chunks=tuple(lengths),
        config=snapshot.image.config,
        state=state,
    )


def _new_file(path: Path) -> BinaryIO:
    """For its owner only; of an earlier try nothing stays."""
    path.unlink(missing_ok=True)
    return open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_FILE_MODE), "wb")


async def _newest_snapshots(bus: NatsBus) -> dict[str, int]:
    """Per service that keeps a journal, the journal sequence its newest snapshot stands for."""
    newest: dict[str, int] = {}
    for name in await bus.object_names("SNAPSHOTS"):
        service, _, seq = name.rpartition(".")
        newest[service] = max(newest.get(service, 0), int(seq))
    return newest


def _missing(
    ledger: LedgerPart | None, streams: list[StreamPart], snapshots: dict[str, int]
) -> str:
    """What was purged before it was copied, in a sentence; empty = nothing."""
    by_name = {part.name: part for part in streams}
    if ledger is not None:
        for stream, readers in READERS.items():
            cursor = ledger.cursors.get(stream, 0)
            part = by_name.get(stream)
            if "metering" in readers and part is not None and part.first_seq - 1 > cursor:
                return f"{stream} begins at {part.first_seq}, the ledger had read up to {cursor}"
    for service, stream in (("scheduler", "JOBS"), ("inventory", "NODES")):
        first_seq = by_name[stream].first_seq
        if first_seq - 1 > snapshots.get(service, 0):
            return f"{stream} begins at {first_seq}, behind every snapshot"
    return ""


def copy_mesh_files(data: Path, target: Path) -> None:
    """Keys and credentials, by which every agent and user is known to the mesh again."""
    for path in DataDirectory(data).secrets():
        below = path.relative_to(data)
        for parent in reversed(below.parents):
            make_private_directory(target / parent)
        copy = target / below
        shutil.copyfile(path, copy)
        copy.chmod(PRIVATE_FILE_MODE)
