"""How are backup and restore asked for on the command line?

Their options, where the mesh is, and what they print. It does not know how either works.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock_mesh.admin import (
    admin_address,
    admin_options,
    data_directory,
    data_option,
    run_admin,
    run_to_end,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock_mesh.backup_manifest import Manifest

LEDGER = Path("metering") / "ledger.sqlite"
"""Where an embedded mesh keeps its ledger, below its data directory."""

_database = click.option(
    "--database",
    metavar="URL",
    help="The ledger, as metering's --database.  [default: metering/ledger.sqlite in --data]",
)
_json = click.option("--json", "json_output", is_flag=True, help="Print the result as JSON.")


@click.command("backup")
@click.argument("directory", type=click.Path(path_type=Path))
@admin_options
@_database
@click.option("--logs", is_flag=True, help="Copy what jobs have written, too.")
@click.option("--files", is_flag=True, help="Copy tenants' files (`penstock files`), too.")
@click.option("--no-keys", is_flag=True, help="Leave keys and credentials out.")
@_json
def backup(
    directory: Path,
    data: Path | None,
    url: str | None,
    creds: str | None,
    database: str | None,
    logs: bool,
    files: bool,
    no_keys: bool,
    json_output: bool,
) -> None:
    """Copy a working mesh into a new DIRECTORY: ledger, streams, snapshots, keys.

    Whoever can read the copy can act as the mesh, unless it was made with --no-keys.
    """
    from penstock_mesh.backup import Wanted, back_up

    where, credential = admin_address(data, url, creds)
    root = data_directory(data)
    ledger = database or f"sqlite:///{root / LEDGER}"
    wanted = Wanted(database=ledger, data=None if no_keys else root, logs=logs, files=files)
    report = _reporter(json_output)
    manifest = run_admin(where, credential, lambda bus: back_up(bus, directory, wanted, report))
    _print(manifest, directory, "backup of", json_output)


@click.command("restore")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@data_option
@click.option("--url", help="An empty broker that runs already; without it, a new one in --data.")
@click.option("--creds", help="Credential of role admin at --url.")
@_database
@click.option(
    "--replicas",
    type=click.IntRange(1, 5),
    help="Servers that keep each stream.  [default: 1 in --data, as it was at --url]",
)
@_json
def restore(
    directory: Path,
    data: Path | None,
    url: str | None,
    creds: str | None,
    database: str | None,
    replicas: int | None,
    json_output: bool,
) -> None:
    """Make a mesh of the backup in DIRECTORY, where there is none yet.

    Without --url it becomes a new data directory for `penstock up --data`. End the mesh that the
    backup was taken of before: the same jobs must not be led twice.
    """
    from penstock_bus.nats import connect
    from penstock_mesh.backup_manifest import read_manifest
    from penstock_mesh.restore import (
        check_database,
        restore_database,
        restore_mesh_files,
        restore_streams,
    )
    from penstock_mesh.restore_broker import temporary_broker

    report = _reporter(json_output)

    async def into_broker(where: str) -> Manifest:
        manifest = read_manifest(directory)
        check_database(manifest, database)
        bus = await connect(where, name="penstock restore", credentials=creds)
        try:
            await restore_streams(bus, directory, manifest, report, replicas)
        finally:
            await bus.close()
        await restore_database(directory, manifest, database, report)
        return manifest

    async def into_directory(root: Path) -> Manifest:
        _check_new(root)
        manifest = read_manifest(directory)
        ledger = database or f"sqlite:///{root / LEDGER}"
        check_database(manifest, ledger)
        restore_mesh_files(directory, root)
        async with temporary_broker(root) as bus:
            await restore_streams(bus, directory, manifest, report, replicas or 1)
        await restore_database(directory, manifest, ledger, report)
        return manifest

    if url is not None:
        manifest = run_to_end(lambda: into_broker(url))
    else:
        root = data_directory(data)
        manifest = run_to_end(lambda: into_directory(root))
    _print(manifest, directory, "restored from", json_output)


def _check_new(root: Path) -> None:
    from penstock_mesh.backup_manifest import BackupError

    if root.exists() and any(root.iterdir()):
        raise BackupError(f"{root} is not empty: a mesh is restored into a new directory")


def _reporter(json_output: bool) -> Callable[[str], None]:
    """Progress goes to a person's terminal, beside the result."""
    import sys

    if json_output or not sys.stderr.isatty():
        return lambda _: None
    return lambda sentence: click.echo(sentence, err=True)


def _print(manifest: Manifest, directory: Path, what: str, json_output: bool) -> None:
    import msgspec

    if json_output:
        click.echo(msgspec.json.encode(manifest.summary))
        return
    messages = sum(part.messages for part in manifest.streams)
    ledger = "no ledger" if manifest.ledger is None else f"{manifest.ledger.kind} ledger"
    click.echo(
        f"{what} {directory}: {len(manifest.streams)} streams, {messages} messages, {ledger}"
    )
