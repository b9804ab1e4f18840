"""How are a mesh's readers shown and dropped on the command line?

What they print, and the question before a drop. It does not know what a drop does.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock_mesh.admin import admin_address, admin_options, run_admin

if TYPE_CHECKING:
    from penstock_mesh.readers import ReaderView

HEADS = ("STREAM", "READER", "CURSOR", "LAST", "BEHIND", "OLDEST", "HELD", "")
MIB = 1024 * 1024


@click.group("reader")
def command() -> None:
    """Show who reads each stream, or free one that a lost reader holds up."""


@command.command("list")
@admin_options
@click.option("--json", "json_output", is_flag=True, help="Print JSON.")
def list_command(data: Path | None, url: str | None, creds: str | None, json_output: bool) -> None:
    """Streams and readers: how far each has read, and what is kept for it."""
    from penstock_mesh.readers import list_readers

    where, credential = admin_address(data, url, creds)
    views = run_admin(where, credential, lambda bus: list_readers(bus, time.time_ns()))
    _print(views, json_output)


@command.command("drop")
@click.argument("name")
@click.option("--stream", help="Only this stream.  [default: all that the reader reads]")
@click.option("--yes", is_flag=True, help="Do not ask.")
@admin_options
@click.option("--json", "json_output", is_flag=True, help="Print JSON; needs --yes.")
def drop_command(
    name: str,
    stream: str | None,
    yes: bool,
    data: Path | None,
    url: str | None,
    creds: str | None,
    json_output: bool,
) -> None:
    """Keep streams no longer for the reader NAME, which is gone.

    What it has not read is discarded by the streams' owners. When it comes back it reads what is
    left, and `penstock check` names what it missed, for ever.
    """
    from penstock_mesh.readers import NotDroppable, choose, drop, list_readers

    where, credential = admin_address(data, url, creds)
    views = run_admin(where, credential, lambda bus: list_readers(bus, time.time_ns()))
    try:
        chosen = choose(views, name, stream)
    except NotDroppable as error:
        raise click.UsageError(str(error)) from error
    if not yes:
        for view in chosen:
            click.echo(
                f"{view.stream}: {view.behind} messages ({view.held_bytes // MIB} MiB) that "
                f"{name} has not read will be discarded"
            )
        click.confirm("Drop it?", abort=True)
    run_admin(where, credential, lambda bus: drop(bus, chosen))
    _print(chosen, json_output)


def _print(views: list[ReaderView], json_output: bool) -> None:
    if json_output:
        import msgspec

        click.echo(msgspec.json.encode(views))
        return
    rows = [HEADS, *map(_row, views)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    for row in rows:
        click.echo("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


def _row(view: ReaderView) -> tuple[str, ...]:
    return (
        view.stream,
        view.reader,
        "-" if view.cursor is None else str(view.cursor),
        str(view.last_seq),
        str(view.behind),
        "-" if view.oldest_age_s is None else f"{view.oldest_age_s} s",
        f"{view.held_bytes / MIB:.1f} MiB",
        "dropped" if view.dropped else "",
    )
