"""How much has each tenant used, and what does it cost?

The command usage. It does not know prices.
"""

from __future__ import annotations

import click

from penstock_client.commands.access import Access, mesh_options
from penstock_client.commands.instants import instant_ms
from penstock_client.commands.price import UNITS


@click.command()
@click.option("--tenant", default="", help="Only this tenant's.")
@click.option("--project", help="Only what this project used; empty: what belongs to none.")
@click.option("--by-project", is_flag=True, help="Each project by itself.")
@click.option(
    "--from", "start", metavar="T", help="From then on: 2026-11-23T08:00, or 24h ago: 24h."
)
@click.option("--to", "end", metavar="T", help="Until before then.")
@mesh_options
def usage(
    access: Access,
    tenant: str,
    project: str | None,
    by_project: bool,
    start: str | None,
    end: str | None,
) -> int:
    """Show what each tenant used, to the moment, and what it costs before free allowances.

    Work that runs is in it up to the last minute that its agent has reported. `penstock bill` shows
    what is owed for a month.
    """
    from penstock_client.commands.tables import print_json, print_table
    from penstock_client.durations import format_money
    from penstock_contracts.prices import QUANTITY_PER_UNIT
    from penstock_contracts.queries import UsageQuery

    query = UsageQuery(
        tenant, instant_ms(start, "--from"), instant_ms(end, "--to"), project, by_project
    )
    view = access.run(lambda client: client.usage(query))
    if access.as_json:
        print_json(view)
        return 0
    rows = [
        (
            line.tenant,
            *((line.project or "-",) if by_project else ()),
            line.sku,
            f"{line.quantity / QUANTITY_PER_UNIT[line.per]:.6f} {UNITS[line.per]}",
            f"{line.billed_quantity / QUANTITY_PER_UNIT[line.per]:.6f}",
            str(line.jobs),
            format_money(line.price_micro_per_hour, line.currency)
            if line.price_micro_per_hour or line.price_version
            else "-",
            format_money(line.cost_micro, line.currency),
        )
        for line in view.lines
    ]
    totals: dict[str, int] = {}
    for line in view.lines:
        totals[line.currency] = totals.get(line.currency, 0) + line.cost_micro
    headings = ("SKU", "USED", "BILLED", "RUNS", "PRICE", "COST")
    owners = ("TENANT", "PROJECT") if by_project else ("TENANT",)
    blank = ("",) * (len(headings) + len(owners) - 2)
    rows += [("total", *blank, format_money(cost, name)) for name, cost in totals.items()]
    print_table((*owners, *headings), rows, "nothing has been used")
    return 0
