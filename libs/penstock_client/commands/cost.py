"""What does the provider pay for nodes and devices?

The commands cost set and cost list. It does not know what costs are divided over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    from penstock_contracts.costs import CostVersion

KINDS = ("purchase", "rent", "hosting", "energy", "payout")
MS_PER_DAY = 86_400_000
DAYS_PER_YEAR = 365


@click.group()
def cost() -> None:
    """Say what nodes and devices cost, and list it."""


def _where(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--device", default="", help="Only this device (UUID)."),
        click.option("--node", default="", help="Only this node."),
        click.option("--model", default="", help="Only devices of this model."),
        click.option("--site", default="", help="Only nodes with this label `site`."),
    ):
        command = option(command)
    return command


@cost.command("set")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("amount", default="0")
@_where
@click.option("--currency", default="USD", show_default=True, help="ISO 4217 code.")
@click.option(
    "--from", "start", metavar="DAY", help="From the UTC day of this time on; default today."
)
@click.option("--per", type=click.Choice(("device", "node")), default="device", help="Once a …")
@click.option("--every", type=click.Choice(("hour", "month")), default="month", help="Rent, …")
@click.option("--life", metavar="4y", help="A purchase is written off over so long (y or d).")
@click.option("--residual", default="0", metavar="AMOUNT", help="What is left at its end.")
@click.option(
    "--band", "bands", multiple=True, metavar="HH:MM=AMOUNT", help="Price of a kWh from then on."
)
@click.option("--utc-offset", default="+00:00", metavar="+HH:MM", help="Local time of the bands.")
@click.option("--overhead", default="1", metavar="1.3", help="Energy paid for energy measured.")
@click.option("--share", default="0%", metavar="70%", help="Of revenue, paid out.")
@click.option("--owner", default="", help="Who is paid out.")
@mesh_options
def set_cost(access: Access, kind: str, amount: str, start: str | None, **given: Any) -> int:
    """Set what KIND costs: AMOUNT for a device (or node), each month or hour, kWh or GPU-hour sold.

    \b
    penstock cost set purchase 28000 --model H100 --life 4y --residual 4000 --from 2025-03-01
    penstock cost set energy --site oslo --band 00:00=0.06 --band 06:00=0.14 --utc-offset +01:00
    penstock cost set rent 1.20 --every hour --node n7
    penstock cost set hosting 900 --per node --site oslo
    penstock cost set payout --node n9 --share 70% --owner Ada
    """
    from penstock_client.commands.tables import print_json
    from penstock_client.questions import QUERY_TIMEOUT_S, ask_on
    from penstock_client.ulids import Ulids
    from penstock_contracts.costs import CostsView, SetCost
    from penstock_contracts.registry import BY_NAME

    command = SetCost(Ulids().next(), _cost(kind, amount, start, given))
    subject = BY_NAME["command_metering_set_cost"].template
    view = access.run(
        lambda client: ask_on(client.bus, subject, "metering", command, CostsView, QUERY_TIMEOUT_S)
    )
    if access.as_json:
        print_json(view)
    else:
        for one in view.costs:
            click.echo(f"cost {one.number}: {_place(one)}: {_terms(one)}")
    return 0


@cost.command("list")
@click.option("--kind", type=click.Choice(KINDS), help="Only these.")
@mesh_options
def list_costs(access: Access, kind: str | None) -> int:
    """List every cost ever set, oldest first."""
    import msgspec

    from penstock_client.commands.tables import print_json, print_table
    from penstock_client.questions import ask
    from penstock_contracts.costs import CostsQuery, CostsView

    async def all_pages(client: Any) -> list[CostVersion]:
        found: list[CostVersion] = []
        more = True
        while more:
            behind = {"kind": kind or "", "after": found[-1].number if found else 0}
            query = msgspec.convert(behind, CostsQuery)
            page = await ask(client.bus, "metering", "costs", query, CostsView)
            found += page.costs
            more = page.more and bool(page.costs)
        return found

    costs = access.run(all_pages)
    if access.as_json:
        print_json(CostsView(tuple(costs)))
        return 0
    rows = [(str(one.number), one.kind, _since(one), _place(one), _terms(one)) for one in costs]
    print_table(("NO", "KIND", "SINCE", "WHERE", "TERMS"), rows, "no costs are set")
    return 0


def _cost(kind: str, amount: str, start: str | None, given: dict[str, Any]) -> CostVersion:
    import time

    import msgspec

    from penstock_client.amounts import parse_micro, parse_ppm
    from penstock_client.commands.instants import instant_ms
    from penstock_contracts.costs import CostVersion, fault_of

    now_ms = time.time_ns() // 1_000_000
    from_ms = now_ms if start is None else instant_ms(start, "--from") or 0
    try:
        fields = {
            "kind": kind,
            "micro": parse_micro(amount),
            "effective_from_ms": from_ms - from_ms % MS_PER_DAY,
            "residual_micro": parse_micro(given["residual"]),
            "life_days": _life_days(given["life"]),
            "bands": [_band(text) for text in given["bands"]],
            "utc_offset_minutes": _minutes(given["utc_offset"].lstrip("+-"))
            * (-1 if given["utc_offset"].startswith("-") else 1),
            "overhead_milli": parse_micro(given["overhead"]) // 1_000,
            "share_ppm": parse_ppm(given["share"]),
        }
        for name in ("site", "model", "node", "device", "currency", "per", "every", "owner"):
            fields[name] = given[name]
        made = msgspec.convert(fields, CostVersion)
    except (ValueError, msgspec.ValidationError) as error:
        raise click.UsageError(str(error)) from error
    fault = fault_of(made)
    if fault:
        raise click.UsageError(fault)
    return made


def _life_days(text: str | None) -> int:
    if text is None:
        return 0
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or unit not in ("y", "d"):
        raise ValueError(f"{text!r} is not a life; write 4y or 1000d")
    return int(number) * (DAYS_PER_YEAR if unit == "y" else 1)


def _band(text: str) -> dict[str, int]:
    from penstock_client.amounts import parse_micro

    start, found, amount = text.partition("=")
    if not found:
        raise ValueError(f"{text!r} is not a band; write 22:00=0.06")
    return {"from_minute": _minutes(start), "micro": parse_micro(amount)}


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    if not (hours.isdecimal() and minutes.isdecimal() and int(minutes) < 60):
        raise ValueError(f"{text!r} is not a time of the day; write 22:00")
    return int(hours) * 60 + int(minutes)


def _since(one: CostVersion) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(one.effective_from_ms / 1000, UTC).date().isoformat()


def _place(one: CostVersion) -> str:
    named = ((name, getattr(one, name)) for name in ("site", "model", "node", "device"))
    return " ".join(f"{name} {value}" for name, value in named if value) or "everywhere"


def _terms(one: CostVersion) -> str:
    """In words."""
    from penstock_client.durations import format_money

    def money(micro: int) -> str:
        return format_money(micro, one.currency)

    if one.kind == "purchase":
        left = f" down to {money(one.residual_micro)}" if one.residual_micro else ""
        return f"{money(one.micro)} a {one.per}, written off{left} in {one.life_days} days"
    if one.kind == "payout":
        share = f"{one.share_ppm / 10_000:g} % of revenue" if one.share_ppm else ""
        hour = f"{money(one.micro)} a GPU-hour sold" if one.micro else ""
        words = " and ".join(part for part in (share, hour) if part) or "nothing"
        return f"{words} to {one.owner or 'the owner'}"
    if one.kind == "energy":
        bands = ", ".join(
            f"{money(band.micro)} from {band.from_minute // 60:02}:{band.from_minute % 60:02}"
            for band in one.bands
        )
        overhead = f", times {one.overhead_milli / 1000:g}" if one.overhead_milli > 1_000 else ""
        return f"{bands or money(one.micro)} a kWh{overhead}"
    return f"{money(one.micro)} a {one.per} and {one.every}"
