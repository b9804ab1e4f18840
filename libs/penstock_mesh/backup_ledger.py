"""How is the ledger copied while metering writes it, and put back?

SQLite by its own backup API, PostgreSQL by pg_dump and pg_restore: each a copy as of one moment.
It knows of the ledger's tables only where the cursors stand. Blocking; no event loop.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from penstock_contracts.streams import READERS
from penstock_mesh.backup_manifest import (
    POSTGRESQL_LEDGER,
    SQLITE_LEDGER,
    BackupError,
    LedgerPart,
)
from penstock_mesh.private_file import PRIVATE_FILE_MODE, make_private_directory

SQLITE_PREFIX = "sqlite:///"
POSTGRESQL_PREFIXES = ("postgresql://", "postgres://")
BUSY_S_MAX = 30.0
CURSORS = "SELECT stream, seq FROM cursors"
IS_THERE = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'cursors'"


def copy_ledger(url: str, target: Path) -> LedgerPart:
    """Raises BackupError."""
    if url.startswith(SQLITE_PREFIX):
        return _copy_sqlite(Path(url.removeprefix(SQLITE_PREFIX)), target)
    if url.startswith(POSTGRESQL_PREFIXES):
        return _dump_postgresql(url, target)
    raise BackupError(f"{url} names neither sqlite:///FILE nor postgresql://USER@HOST/NAME")


def restore_ledger(part: LedgerPart, source: Path, url: str) -> None:
    """Into a database that is not there, or empty. Raises BackupError."""
    check_empty(part, url)
    if part.kind == "sqlite":
        path = Path(url.removeprefix(SQLITE_PREFIX))
        make_private_directory(path.parent)
        shutil.copyfile(source / part.file, path)
        path.chmod(PRIVATE_FILE_MODE)
    else:
        options = ["--no-owner", "--exit-on-error", "--single-transaction", "--dbname", url]
        _run("pg_restore", [*options, str(source / part.file)])


def check_empty(part: LedgerPart, url: str) -> None:
    """Raises BackupError unless the ledger may be put there."""
    if url.startswith(SQLITE_PREFIX) != (part.kind == "sqlite"):
        raise BackupError(f"the backup holds a ledger of {part.kind}; {url} is another kind")
    if part.kind == "sqlite":
        path = Path(url.removeprefix(SQLITE_PREFIX))
        if path.exists():
            raise BackupError(f"there is a ledger already: {path}")
    elif _ask(url, IS_THERE) != "0":
        raise BackupError(f"there is a ledger already in {url}")


def _copy_sqlite(path: Path, target: Path) -> LedgerPart:
    if not path.exists():
        raise BackupError(f"there is no ledger at {path}; say --database where metering keeps it")
    copy = target / SQLITE_LEDGER
    try:
        with (
            closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_S_MAX)) as live,
            closing(sqlite3.connect(copy)) as kept,
        ):
            live.backup(kept)
            cursors = {str(stream): int(seq) for stream, seq in kept.execute(CURSORS)}
    except sqlite3.Error as error:
        raise BackupError(f"the ledger {path} cannot be copied: {error}") from error
    copy.chmod(PRIVATE_FILE_MODE)
    return LedgerPart(kind="sqlite", file=copy.name, cursors=_of_streams(cursors))


def _dump_postgresql(url: str, target: Path) -> LedgerPart:
    """The cursors are read before the dump begins: it holds at least what they stand for."""
    rows = [line.split("|") for line in _ask(url, CURSORS).splitlines()]
    copy = target / POSTGRESQL_LEDGER
    os.close(os.open(copy, os.O_CREAT | os.O_WRONLY, PRIVATE_FILE_MODE))
    _run("pg_dump", ["--format=custom", "--no-owner", "--file", str(copy), "--dbname", url])
    cursors = {stream: int(seq) for stream, seq in rows}
    return LedgerPart(kind="postgresql", file=copy.name, cursors=_of_streams(cursors))


def _of_streams(cursors: dict[str, int]) -> dict[str, int]:
    """Without what else metering keeps among them."""
    return {stream: seq for stream, seq in cursors.items() if stream in READERS}


def _ask(url: str, question: str) -> str:
    options = ["--no-psqlrc", "--tuples-only", "--no-align", "--dbname", url]
    return _run("psql", [*options, "--command", question]).strip()


def _run(program: str, arguments: list[str]) -> str:
    """The program's output. Raises BackupError."""
    found = shutil.which(program)
    if found is None:
        raise BackupError(
            f"{program} is not on PATH: a ledger in PostgreSQL is copied with PostgreSQL's own "
            "programs, of the server's version or a newer one (for example apt install "
            "postgresql-client)"
        )
    done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BackupError(f"{program} failed: {done.stderr.strip() or f'exit {done.returncode}'}")
    return done.stdout
