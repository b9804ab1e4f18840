"""Which files does a tenant keep for its jobs?

The commands files put, get, list and remove. It does not know how files travel.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_contracts.depot import File

STDIO = "-"
_tenant = click.option("--tenant", default="default", help="Whose.  [default: default]")


@click.group()
def files() -> None:
    """Keep files for jobs: `penstock run --input data.csv=object:NAME -- CMD` takes one along."""


@files.command("put")
@click.argument("path", metavar="FILE")
@click.argument("name", metavar="[NAME]", required=False)
@_tenant
@mesh_options
def put(access: Access, path: str, name: str | None, tenant: str) -> int:
    """Keep FILE (`-` = stdin) under NAME, by default its own; what NAME was before goes."""
    from penstock_client.depot import Depot, put_path

    if path == STDIO and name is None:
        raise click.UsageError("say under which NAME to keep what stdin gives")

    async def work(client: Client) -> File:
        depot = Depot(client.bus, tenant)
        if path == STDIO:
            return await depot.put(str(name), sys.stdin.buffer)
        return await put_path(depot, name or Path(path).name, Path(path))

    try:
        kept = access.run(work)
    except OSError as error:
        raise click.UsageError(f"cannot read {path}: {error.strerror}") from error
    _show(access, [kept])
    return 0


@files.command("get")
@click.argument("name", metavar="NAME")
@click.argument("path", metavar="[FILE]", required=False)
@_tenant
@mesh_options
def get(access: Access, name: str, path: str | None, tenant: str) -> int:
    """Write the file NAME to FILE (`-` = stdout), by default its own name here."""
    from penstock_client.depot import Depot, get_path

    target = path or Path(name).name

    async def work(client: Client) -> File:
        depot = Depot(client.bus, tenant)
        if target == STDIO:
            return await depot.get(name, sys.stdout.buffer)
        return await get_path(depot, name, Path(target))

    try:
        found = access.run(work)
    except OSError as error:
        raise click.UsageError(f"cannot write {target}: {error.strerror}") from error
    if target != STDIO:
        _show(access, [found])
    return 0


@files.command("list")
@_tenant
@mesh_options
def list_(access: Access, tenant: str) -> int:
    """List the files of a tenant."""
    from penstock_client.depot import Depot

    _show(access, access.run(lambda client: Depot(client.bus, tenant).files()))
    return 0


@files.command("remove")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_tenant
@mesh_options
def remove(access: Access, names: tuple[str, ...], tenant: str) -> int:
    """Remove files. Jobs that name one fail from now on."""
    from penstock_client.depot import Depot

    access.remove_each(names, lambda client, name: Depot(client.bus, tenant).remove(name))
    return 0


def _show(access: Access, found: list[File]) -> None:
    from penstock_client.commands.tables import print_json, print_table
    from penstock_client.durations import format_instant

    if access.as_json:
        print_json(found)
        return
    rows = [
        (file.name, str(file.bytes), file.sha256, format_instant(file.stored_ms)) for file in found
    ]
    print_table(("NAME", "BYTES", "SHA256", "STORED"), rows, "there are no files")
