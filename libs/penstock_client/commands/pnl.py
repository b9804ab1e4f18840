"""What did each device, node, model, site, tenant or job earn and cost, and why was it idle?

The command pnl. It does not know how profit and loss are computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    from penstock_contracts.profits import ProfitLine, ProfitView

PROFIT_TIMEOUT_S = 60.0
BY = ("device", "node", "model", "site", "tenant", "job")
HEADINGS = (
    "GPU H", "SOLD", "REVENUE", "PAYOUT", "ENERGY", "DEPRECIATION", "RENT", "HOSTING", "OF IT IDLE",
    "PROFIT", "BREAK-EVEN PRICE", "OR SOLD",
)  # fmt: skip
REASONS = {
    "held": "held, not running",
    "free_no_demand": "free, no demand",
    "free_fragmented": "free, no shape that fits",
    "free_quota": "free, quota or budget",
    "draining": "draining",
    "broken": "broken",
    "unknown": "out of sight",
}


@click.command()
@click.option("--by", type=click.Choice(BY), default="device", help="A line for each of these.")
@click.option("--month", default="", metavar="2026-11", help="A month in UTC; default this one.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=30, help="Lines, worst first.")
@click.option("--plot", "picture", metavar="FILE.png", help="Draw it.")
@mesh_options
def pnl(access: Access, by: str, month: str, limit: int, picture: str | None) -> int:
    """Show profit and loss of a month, worst first, and what idle time cost and why."""
    import msgspec

    from penstock_client.commands.tables import print_json
    from penstock_client.questions import ask
    from penstock_contracts.profits import ProfitQuery, ProfitView

    query = msgspec.convert({"by": by, "month": month, "limit": limit}, ProfitQuery)
    view = access.run(
        lambda client: ask(client.bus, "metering", "profit", query, ProfitView, PROFIT_TIMEOUT_S)
    )
    if access.as_json:
        print_json(view)
    else:
        show_profit(view)
    if picture is not None:
        draw_profit(view, picture)
    return 0


def show_profit(view: ProfitView, *, details: bool = True) -> None:
    """Tables: the lines, and in detail which models break even, idle time, payouts."""
    from penstock_client.commands.tables import print_table

    state = "closed" if view.closed else "open"
    click.echo(f"{view.month} ({state}), amounts in the currency named last\n")
    lines = (*view.lines, *view.others, *view.totals)
    headings = (view.by.upper(), *HEADINGS, "")
    print_table(headings, [_row(line) for line in lines], "nothing was sold and nothing cost")
    if details:
        _show_details(view)


def _show_details(view: ProfitView) -> None:
    from penstock_client.amounts import format_cents, format_share
    from penstock_client.commands.tables import print_table
    from penstock_client.durations import format_gpu_hours

    if view.by != "model" and view.models:
        click.echo()
        print_table(("MODEL", *HEADINGS, ""), [_row(line) for line in view.models], "")
    if view.idle:
        click.echo()
        time = {one.reason: one.milli_ms for one in view.idle}
        rows = [
            (
                REASONS.get(one.reason, one.reason),
                format_gpu_hours(one.milli_ms).partition(".")[0],
                format_share(one.milli_ms, sum(time.values())),
                f"{format_cents(one.cost_micro)} {one.currency}",
            )
            for one in view.idle
        ]
        print_table(("NOT SOLD BECAUSE", "GPU H", "SHARE", "COST"), rows, "")
    for owed in view.payouts:
        amount = f"{format_cents(owed.micro)} {owed.currency}"
        click.echo(f"\nto pay out to {owed.owner or 'owners'}: {amount}")
    if view.worst:
        click.echo("\nthe worst devices")
    for line in view.worst:
        click.echo(f"{line.key}: {format_cents(line.profit_micro)} {line.currency}; {line.why}")
    if view.energy_known_ppm is not None:
        click.echo(f"\nenergy was measured for {format_share(view.energy_known_ppm)} of the time")


def draw_profit(view: ProfitView, file: str) -> None:
    """Raises click's errors where the picture cannot be made."""
    from penstock_client.commands.access import Failure

    try:
        from penstock_client.profit_chart import draw
    except ImportError as error:
        sentence = "pictures need matplotlib: pip install 'penstock[plot]'"
        raise Failure("not_installed", sentence) from error
    try:
        draw(view, file)
    except (OSError, ValueError) as error:
        raise click.BadParameter(str(error), param_hint="--plot") from error
    click.echo(f"drawn: {file}", err=True)


def _row(line: ProfitLine) -> tuple[str, ...]:
    from penstock_client.amounts import format_cents, format_share
    from penstock_client.durations import format_gpu_hours

    amounts = (
        line.revenue_micro, line.payout_micro, line.energy_micro, line.depreciation_micro,
        line.rent_micro, line.hosting_micro, line.idle_micro, line.profit_micro,
    )  # fmt: skip
    return (
        line.key,
        format_gpu_hours(line.sold_milli_ms).partition(".")[0],
        format_share(line.sold_milli_ms, line.capacity_milli_ms),
        *(format_cents(micro) if micro else "" for micro in amounts),
        format_cents(line.break_even_micro),
        format_share(line.break_even_ppm),
        line.currency,
    )
