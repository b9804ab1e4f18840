"""What does use cost, and since when?

The commands price set, list and history. It does not know what was used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_contracts.price_book import PricesQuery, SetPrice
    from penstock_contracts.prices import PriceVersion

TIERS = ("on_demand", "spot", "reserved")
STATES = ("preparing", "running", "settling")
UNITS = {
    "gpu_hour": "GPU h",
    "cpu_hour": "core h",
    "gib_hour": "GiB h",
    "kwh": "kWh",
    "job": "job",
}


@click.group()
def price() -> None:
    """Set prices, and list those that hold or ever held."""


@price.command("set")
@click.argument("sku")
@click.argument("amount", required=False)
@click.option("--discount", metavar="20%", help="Instead of AMOUNT: off the list price.")
@click.option("--tenant", default="", help="Only for this tenant.")
@click.option("--site", default="", help="Only on nodes with this label `site`.")
@click.option("--tier", default="", type=click.Choice(("", *TIERS)), help="Only for this tier.")
@click.option("--currency", help="ISO 4217 code; a price book is kept in one.")
@click.option("--from", "start", metavar="T", help="From then on: 2026-12-01. Default: now.")
@click.option("--granularity", metavar="D", help="Time is rounded up to it: 1s, 100ms, 1h.")
@click.option("--minimum", metavar="D", help="A lease that ran pays for so long at least.")
@click.option("--billable", multiple=True, type=click.Choice(STATES), help="States that cost.")
@click.option("--free", metavar="N", help="So many units a month are free to each tenant.")
@mesh_options
def set_price(access: Access, sku: str, amount: str | None, **given: Any) -> int:
    """Set what one unit of SKU costs from now on: AMOUNT for a GPU-hour, core-hour, GiB-hour, kWh
    or job.

    SKU is gpu/MODEL, gpu (models without a price of their own), cpu (jobs without GPUs),
    cpu/beside-gpu, memory, energy or job. What is not said stays as it is.

    \b
    penstock price set gpu/H100 2.49 --minimum 60s
    penstock price set gpu/H100 1.10 --tier spot --site oslo
    penstock price set gpu/H100 --tenant lab --discount 20%
    penstock price set energy 0.35 --from 2026-12-01
    """
    from penstock_client.commands.tables import print_json
    from penstock_client.questions import order
    from penstock_contracts.price_book import PricesView

    wish = _wish(sku, amount, given)
    view = access.run(lambda client: order(client.bus, "set_price", wish, PricesView))
    if access.as_json:
        print_json(view)
    else:
        _print(view.versions, view.now_ms, "nothing has changed")
    return 0


@price.command("list")
@click.option("--sku", default="", help="Only this SKU.")
@click.option("--tenant", default="", help="Only this tenant's own prices.")
@mesh_options
def list_prices(access: Access, sku: str, tenant: str) -> int:
    """List the prices that hold, and those to come."""
    return _show(access, history=False, sku=sku, tenant=tenant)


@price.command("history")
@click.argument("sku", default="")
@click.option("--tenant", default="", help="Only this tenant's own prices.")
@mesh_options
def history(access: Access, sku: str, tenant: str) -> int:
    """List every version of every price, or of SKU's, oldest first."""
    return _show(access, history=True, sku=sku, tenant=tenant)


def _show(access: Access, **asked: Any) -> int:
    from penstock_client.commands.tables import print_json
    from penstock_contracts.price_book import PricesQuery, PricesView

    versions, now_ms = access.run(lambda client: _all_pages(client, PricesQuery(**asked)))
    if access.as_json:
        print_json(PricesView(tuple(versions), now_ms))
    else:
        _print(versions, now_ms, "there are no such prices")
    return 0


async def _all_pages(client: Client, query: PricesQuery) -> tuple[list[PriceVersion], int]:
    from msgspec.structs import replace

    from penstock_client.questions import ask
    from penstock_contracts.price_book import PricesView

    found: list[PriceVersion] = []
    while True:
        after = found[-1].version if found else 0
        page = await ask(client.bus, "metering", "prices", replace(query, after=after), PricesView)
        found += page.versions
        if not page.more or not page.versions:
            return found, page.now_ms


def _wish(sku: str, amount: str | None, given: dict[str, Any]) -> SetPrice:
    import msgspec

    from penstock_client.amounts import parse_micro, parse_ppm
    from penstock_client.commands.instants import instant_ms
    from penstock_client.ulids import Ulids
    from penstock_contracts.price_book import SetPrice
    from penstock_contracts.prices import is_sku

    if (amount is None) == (given["discount"] is None):
        raise click.UsageError("give either AMOUNT or --discount")
    if not is_sku(sku):
        raise click.UsageError(f"{sku[:60]!r} is not sold; gpu/MODEL, gpu, cpu, … are")
    try:
        fields = {
            "key": Ulids().next(),
            "sku": sku,
            "micro": None if amount is None else parse_micro(amount),
            "discount_ppm": None if given["discount"] is None else parse_ppm(given["discount"]),
            "effective_from_ms": instant_ms(given["start"], "--from"),
            "granularity_ms": _length_ms(given["granularity"]),
            "minimum_ms": _length_ms(given["minimum"]),
            "billable": given["billable"] or None,
            "free_quantity": _quantity(sku, given["free"]),
        }
        for name in ("tenant", "site", "tier", "currency"):
            fields[name] = given[name]
        return msgspec.convert(fields, SetPrice)
    except (ValueError, msgspec.ValidationError) as error:
        raise click.UsageError(str(error)) from error


def _length_ms(text: str | None) -> int | None:
    from penstock_client.durations import parse_duration_s

    if text is None:
        return None
    if text.endswith("ms") and text[:-2].isdecimal():
        return int(text[:-2])
    return parse_duration_s(text) * 1_000


def _quantity(sku: str, text: str | None) -> int | None:
    from penstock_client.amounts import MICRO, parse_micro
    from penstock_contracts.prices import QUANTITY_PER_UNIT, unit_of

    return None if text is None else parse_micro(text) * QUANTITY_PER_UNIT[unit_of(sku)] // MICRO


def _print(versions: Any, now_ms: int, empty: str) -> None:
    from penstock_client.commands.tables import print_table
    from penstock_client.durations import format_money

    rows = [
        (
            str(version.version),
            version.sku,
            _whom(version),
            format_money(version.micro, version.currency),
            UNITS[version.unit],
            _since(version.effective_from_ms, now_ms),
            _terms(version),
        )
        for version in versions
    ]
    print_table(("NO", "SKU", "FOR", "PRICE", "PER", "SINCE", "TERMS"), rows, empty)


def _since(from_ms: int, now_ms: int) -> str:
    from penstock_client.durations import format_instant

    if not from_ms:
        return "always"
    return f"{'to come: ' if from_ms > now_ms else ''}{format_instant(from_ms)}"


def _whom(version: PriceVersion) -> str:
    named = (("tenant", version.tenant), ("site", version.site), ("tier", version.tier))
    return ", ".join(f"{name} {value}" for name, value in named if value) or "all"


def _terms(version: PriceVersion) -> str:
    """What is not as it usually is, in words."""
    from penstock_client.durations import format_duration
    from penstock_contracts.prices import QUANTITY_PER_UNIT

    words = []
    if version.discount_ppm:
        words.append(f"{version.discount_ppm / 10_000:g} % off the list")
    if version.granularity_ms > 1_000:
        words.append(f"in steps of {format_duration(version.granularity_ms)}")
    if version.minimum_ms:
        words.append(f"{format_duration(version.minimum_ms)} at least")
    if version.billable != ("running",):
        words.append(" and ".join(version.billable) + " cost" if version.billable else "free")
    if version.free_quantity:
        free = version.free_quantity / QUANTITY_PER_UNIT[version.unit]
        words.append(f"{free:g} {UNITS[version.unit]} a month free")
    return ", ".join(words)
