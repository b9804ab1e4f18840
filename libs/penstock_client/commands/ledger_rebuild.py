"""How does an operator have the ledger's sums made anew?

The command ledger rebuild. It does not know what is derived from what.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_contracts.rebuilding import Stale

POLL_S = 0.5


@click.command()
@click.option("--no-wait", is_flag=True, help="Do not wait until it is done.")
@mesh_options
def rebuild(access: Access, no_wait: bool) -> int:
    """Derive rated use, rollups and device time again from what was reported.

    The outcome is the same to the last byte, unless what stood was damaged. Closed months, invoices
    and what was reported are not touched. Meanwhile usage and bills of open months show what has
    been derived so far; new use goes on arriving.
    """
    from penstock_client.commands.tables import print_json

    begun, left = access.run(lambda client: _rebuild(client, no_wait, quiet=access.as_json))
    if access.as_json:
        print_json({"begun": begun, "left": left})
    else:
        click.echo(f"{begun.leases} leases rated, {begun.nodes} nodes summed up anew")
    return 0


async def _rebuild(client: Client, no_wait: bool, *, quiet: bool) -> tuple[Stale, Stale]:
    from penstock_client.questions import ask, order
    from penstock_client.ulids import Ulids
    from penstock_contracts.rebuilding import RebuildLedger, Stale, StaleQuery

    begun = left = await order(client.bus, "rebuild", RebuildLedger(Ulids().next()), Stale)
    while not no_wait and (left.leases or left.nodes):
        await asyncio.sleep(POLL_S)
        left = await ask(client.bus, "metering", "stale", StaleQuery(), Stale)
        if not quiet:
            click.echo(f"{left.leases} leases and {left.nodes} nodes left", err=True)
    return begun, left
