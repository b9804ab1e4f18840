"""Which secrets does a tenant keep for its jobs?

The commands secret set, list and remove. What a secret says comes from a file, stdin or a prompt,
never from the command line, which others can see. It does not know how secrets travel.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    pass

_tenant = click.option("--tenant", default="default", help="Whose.  [default: default]")


@click.group()
def secret() -> None:
    """Keep secrets for jobs: `penstock run --secret NAME=VARIABLE -- CMD` gives one to a job.

    Nobody can read one back.
    """


@secret.command("set")
@click.argument("name", metavar="NAME")
@click.option(
    "--from", "path", metavar="FILE", help="What it says; else stdin without its last line break."
)
@_tenant
@mesh_options
def set_(access: Access, name: str, path: str | None, tenant: str) -> int:
    """Keep a secret under NAME; on a terminal you are asked for it. Replaces what NAME was."""
    from penstock_client.commands.tables import print_json
    from penstock_client.depot import Depot

    text = _text(path)
    access.run(lambda client: Depot(client.bus, tenant).set_secret(name, text))
    if access.as_json:
        print_json({"name": name})
    return 0


@secret.command("list")
@_tenant
@mesh_options
def list_(access: Access, tenant: str) -> int:
    """List the names of a tenant's secrets."""
    from penstock_client.commands.tables import print_json, print_table
    from penstock_client.depot import Depot
    from penstock_client.durations import format_instant

    found = access.run(lambda client: Depot(client.bus, tenant).secrets())
    if access.as_json:
        print_json(found)
        return 0
    rows = [(each.name, format_instant(each.stored_ms)) for each in found]
    print_table(("NAME", "SET"), rows, "there are no secrets")
    return 0


@secret.command("remove")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_tenant
@mesh_options
def remove(access: Access, names: tuple[str, ...], tenant: str) -> int:
    """Remove secrets. Jobs that name one fail from now on."""
    from penstock_client.depot import Depot

    access.remove_each(names, lambda client, name: Depot(client.bus, tenant).remove_secret(name))
    return 0


def _text(path: str | None) -> str:
    from penstock_contracts.depot import SECRET_BYTES_MAX

    try:
        if path is not None:
            with Path(path).open("rb") as file:
                data = file.read(SECRET_BYTES_MAX + 1)
        elif sys.stdin.isatty():
            return str(click.prompt("Secret", hide_input=True, err=True))
        else:
            data = sys.stdin.buffer.read(SECRET_BYTES_MAX + 1).removesuffix(b"\n")
        return data.decode()
    except UnicodeDecodeError:
        raise click.UsageError("a secret is text, in UTF-8") from None
    except OSError as error:
        raise click.UsageError(f"cannot read {path}: {error.strerror}") from error
