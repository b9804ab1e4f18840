"""What did a month cost, in a file that FinOps tools read?

The command ledger export: fetches a month's charges page by page and writes them as FOCUS cost and
usage data. It does not know what the columns hold.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_contracts.exports import ExportPage, ExportQuery

MONTH = re.compile(r"2[0-9]{3}-(0[1-9]|1[0-2])")
CHANGED_TRIES = 3
"""So often an export is begun anew when metering has forgotten it, as when it was started anew."""


@click.command()
@click.option(
    "--focus",
    "version",
    type=click.Choice(("1.4", "1.2")),
    default="1.4",
    show_default=True,
    help="Version of the FinOps Open Cost and Usage Specification.",
)
@click.option("--out", "path", metavar="FILE", required=True, help="FILE.csv or FILE.parquet.")
@click.option("--month", metavar="2026-11", default="", help="UTC; default this month.")
@click.option("--tenant", default="", help="Only this tenant's.")
@click.option(
    "--provider", is_flag=True, help="With what it cost the provider, margins and idle time."
)
@mesh_options
def export(access: Access, version: Any, path: str, month: str, tenant: str, provider: bool) -> int:
    """Write a month as FOCUS cost and usage data.

    A month that is open has no invoices yet; what it holds is as of now.
    """
    from penstock_client.commands.access import Failure
    from penstock_client.commands.tables import print_json
    from penstock_client.focus.files import SUFFIXES, ParquetMissing
    from penstock_contracts.exports import ExportQuery

    target = Path(path)
    if target.suffix not in SUFFIXES:
        raise click.UsageError(f"--out must end in {' or '.join(SUFFIXES)}")
    if month and not MONTH.fullmatch(month):
        raise click.UsageError("a month is written as 2026-11")
    query = ExportQuery(month=month, tenant=tenant, provider=provider)
    try:
        last, rows = access.run(lambda client: _write(client, query, target, version))
    except ParquetMissing as error:
        raise Failure("not_installed", str(error), access.as_json) from error
    except OSError as error:
        raise Failure("not_written", f"{path}: {error.strerror}", access.as_json) from error
    if access.as_json:
        print_json({"file": path, "month": last.month, "closed": last.closed, "rows": rows})
    else:
        state = "closed" if last.closed else "open: as of now, without invoices"
        click.echo(f"{path}: {rows} rows of {last.month} ({state}), FOCUS {version}")
    return 0


async def _write(
    client: Client, query: ExportQuery, target: Path, version: Any
) -> tuple[ExportPage, int]:
    """All pages, from one instant. The last page, and how many rows there are."""
    from penstock_client.failures import Refused

    tries = CHANGED_TRIES
    while True:
        try:
            return await _write_once(client, query, target, version)
        except Refused as error:
            tries -= 1
            if error.refusal.code != "unknown_export" or not tries:
                raise


async def _write_once(
    client: Client, query: ExportQuery, target: Path, version: Any
) -> tuple[ExportPage, int]:
    import msgspec

    from penstock_client.focus.columns import columns_of
    from penstock_client.focus.files import FocusFile
    from penstock_client.focus.rows import rows_of
    from penstock_client.questions import ask
    from penstock_contracts.exports import EXPORT_TIMEOUT_S, ExportPage

    with FocusFile(target, columns_of(version, provider=query.provider)) as file:
        while True:
            page = await ask(client.bus, "metering", "export", query, ExportPage, EXPORT_TIMEOUT_S)
            file.write(rows_of(page))
            if not page.more:
                return page, file.rows
            query = msgspec.structs.replace(query, export=page.export, page=page.page + 1)
