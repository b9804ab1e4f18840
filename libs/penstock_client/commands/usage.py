"""How much has each tenant used, and what does it cost?

The command usage. It does not know prices.
"""

from __future__ import annotations

import click

from penstock_client.commands.access import Access, mesh_options
from penstock_client.commands.instants import instant_ms

UNIT_NAMES = {"gpu_milli_ms": "GPU h", "cpu_milli_ms": "core h"}


@click.command()
@click.option("--tenant", default="", help="Only this tenant's.")
@click.option(
    "--from", "start", metavar="T", help="From then on: 2026-11-23T08:00, or 24h ago: 24h."
)
@click.option("--to", "end", metavar="T", help="Until before then.")
@mesh_options
def usage(access: Access, tenant: str, start: str | None, end: str | None) -> int:
    """Show GPU time and cost per tenant."""
    from penstock_client.commands.tables import print_json, print_table
    from penstock_client.durations import format_gpu_hours, format_money
    from penstock_contracts.queries import UsageQuery

    query = UsageQuery(tenant, instant_ms(start, "--from"), instant_ms(end, "--to"))
    view = access.run(lambda client: client.usage(query))
    if access.as_json:
        print_json(view)
        return 0
    rows = [
        (
            line.tenant,
            line.sku,
            f"{format_gpu_hours(line.quantity)} {UNIT_NAMES.get(line.unit, line.unit)}",
            str(line.jobs),
            format_money(line.price_micro_per_hour, line.currency),
            format_money(line.cost_micro, line.currency),
        )
        for line in view.lines
    ]
    totals: dict[str, int] = {}
    for line in view.lines:
        totals[line.currency] = totals.get(line.currency, 0) + line.cost_micro
    rows += [
        ("total", "", "", "", "", format_money(cost, currency)) for currency, cost in totals.items()
    ]
    headings = ("TENANT", "SKU", "USED", "JOBS", "PRICE PER HOUR", "COST")
    print_table(headings, rows, "nothing has been used")
    return 0
