"""How much may a tenant spend, and what has it paid in advance?

The commands budget set, remove and list, and credit add and list. It does not know what anything
costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_contracts.budgets import BudgetView, CreditsView

ACTS = ("warn", "refuse", "end-preemptible", "stop")
PERIODS = ("month", "total")
GPU_HOUR = 3_600_000_000
"""In milli-GPU·ms."""
POLL_S = 0.3
AGREE_S_MAX = 6.0
"""A withdrawal waits so long for the scheduler, then says that it is asked for."""


@click.group()
def budget() -> None:
    """Bound what tenants may use, in money or in GPU-hours."""


@budget.command("set")
@click.argument("name")
@click.option("--tenant", required=True, help="Whose use it counts.")
@click.option("--project", default="", help="Only what this project of the tenant uses.")
@click.option("--gpu-hours", metavar="N", help="The limit, in GPU-hours of running time.")
@click.option("--money", metavar="N", help="The limit, in money.")
@click.option("--currency", default="USD", show_default=True, help="Of --money.")
@click.option(
    "--acts",
    type=click.Choice(ACTS),
    default="warn",
    show_default=True,
    help="When it is used up: nothing; refuse new work; end spot work too; or stop all before.",
)
@click.option("--per", type=click.Choice(PERIODS), default="month", show_default=True)
@click.option("--warn", "warnings", default="80,100", show_default=True, help="Percent, with ,")
@mesh_options
def set_budget(access: Access, name: str, **given: Any) -> int:
    """Make the budget NAME, or change it.

    \b
    penstock budget set research --tenant acme --gpu-hours 10 --acts stop
    penstock budget set vision --tenant acme --project vision --money 500 --acts refuse
    """
    from penstock_client.amounts import parse_micro
    from penstock_client.ulids import Ulids
    from penstock_contracts.budgets import SetBudget

    if (given["gpu_hours"] is None) == (given["money"] is None):
        raise click.UsageError("say either --gpu-hours or --money")
    try:
        micro = parse_micro(given["money"] or given["gpu_hours"])
        percent = tuple(int(part) for part in given["warnings"].split(",") if part)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    counts_money = given["money"] is not None
    wish = SetBudget(
        key=Ulids().next(),
        budget_id=name,
        tenant=given["tenant"],
        project=given["project"],
        unit="micro" if counts_money else "gpu_milli_ms",
        currency=given["currency"] if counts_money else "",
        acts=given["acts"].replace("-", "_"),
        per=given["per"],
        limit=micro if counts_money else micro * GPU_HOUR // 1_000_000,
        warn_percent=percent,
    )
    return _set(access, wish)


@budget.command()
@click.argument("name")
@click.option("--tenant", required=True, help="Whose it is.")
@mesh_options
def remove(access: Access, name: str, tenant: str) -> int:
    """Remove the budget NAME: work goes on without it."""
    from penstock_client.ulids import Ulids
    from penstock_contracts.budgets import SetBudget

    known = [view for view in _budgets(access, tenant) if view.budget_id == name]
    if not known:
        raise click.UsageError(f"{tenant} has no budget {name}")
    unit, currency = known[0].unit, known[0].currency
    wish = SetBudget(
        key=Ulids().next(),
        budget_id=name,
        tenant=tenant,
        unit=unit,  # type: ignore[arg-type]
        currency=currency,
    )
    return _set(access, wish)


@budget.command("list")
@click.option("--tenant", default="", help="Only this tenant's.")
@mesh_options
def list_budgets(access: Access, tenant: str) -> int:
    """List budgets and prepaid credits with what is spent and reserved."""
    from penstock_contracts.budgets import BudgetsView

    _show(access, BudgetsView(tuple(_budgets(access, tenant))))
    return 0


@click.group()
def credit() -> None:
    """Keep what tenants pay in advance."""


@credit.command("add")
@click.argument("tenant")
@click.argument("amount")
@click.option("--currency", default="USD", show_default=True)
@click.option("--reason", default="", help="For people.")
@mesh_options
def add_credit(access: Access, tenant: str, amount: str, currency: str, reason: str) -> int:
    """Add AMOUNT to the credit of TENANT; with a leading - take it out, if nobody was promised it.

    The first credit makes TENANT one that pays in advance: nothing of it runs unpaid from then on.

    \b
    penstock credit add acme 100
    penstock credit add acme -- -25.50
    """
    from penstock_client.amounts import parse_micro
    from penstock_client.ulids import Ulids
    from penstock_contracts.budgets import AddCredit

    try:
        micro = parse_micro(amount.removeprefix("-")) * (-1 if amount.startswith("-") else 1)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    wish = AddCredit(
        key=Ulids().next(), tenant=tenant, amount_micro=micro, currency=currency, reason=reason
    )
    view = access.run(lambda client: _add(client, wish))
    _show_credits(access, view)
    return 0


@credit.command("list")
@click.option("--tenant", default="", help="Only this tenant's.")
@mesh_options
def list_credits(access: Access, tenant: str) -> int:
    """List prepaid credits, and what was added and taken out."""
    from penstock_client.questions import ask
    from penstock_contracts.budgets import CreditsQuery, CreditsView

    query = CreditsQuery(tenant)
    view = access.run(lambda client: ask(client.bus, "metering", "credits", query, CreditsView))
    _show_credits(access, view)
    return 0


async def _add(client: Client, wish: Any) -> CreditsView:
    """With what became of a withdrawal, unless the scheduler is away."""
    import asyncio

    from penstock_client.questions import ask, order
    from penstock_contracts.budgets import CreditsQuery, CreditsView

    view = await order(client.bus, "add_credit", wish, CreditsView)
    for _ in range(int(AGREE_S_MAX / POLL_S)):
        if not any(entry.key == wish.key and entry.state == "asked" for entry in view.entries):
            break
        await asyncio.sleep(POLL_S)
        query = CreditsQuery(wish.tenant)
        view = await ask(client.bus, "metering", "credits", query, CreditsView)
    return view


def _set(access: Access, wish: Any) -> int:
    from penstock_client.questions import order
    from penstock_contracts.budgets import BudgetsView

    _show(access, access.run(lambda client: order(client.bus, "set_budget", wish, BudgetsView)))
    return 0


def _budgets(access: Access, tenant: str) -> tuple[BudgetView, ...]:
    from penstock_client.questions import ask
    from penstock_contracts.budgets import BudgetsQuery, BudgetsView

    query = BudgetsQuery(tenant)
    view = access.run(lambda client: ask(client.bus, "metering", "budgets", query, BudgetsView))
    return view.budgets


def _show(access: Access, view: Any) -> None:
    from penstock_client.commands.tables import print_json, print_table

    if access.as_json:
        print_json(view)
        return
    rows = [
        (
            one.budget_id,
            one.tenant,
            one.project or "-",
            one.period or "total",
            one.acts.replace("_", "-") if not one.prepaid else "prepaid",
            *(_amount(one, n) for n in (one.limit, one.spent, one.reserved, _left(one))),
            f"{one.warned_percent} %" if one.warned_percent else "-",
        )
        for one in view.budgets
    ]
    headings = (
        "BUDGET", "TENANT", "PROJECT", "PERIOD", "ACTS", "LIMIT", "SPENT", "RESERVED", "LEFT",
        "WARNED",
    )  # fmt: skip
    print_table(headings, rows, "there is no budget")


def _show_credits(access: Access, view: CreditsView) -> None:
    from penstock_client.commands.tables import print_json, print_table
    from penstock_client.durations import format_instant, format_money

    if access.as_json:
        print_json(view)
        return
    rows = [
        (one.tenant, *(_amount(one, n) for n in (one.limit, one.spent, one.reserved, _left(one))))
        for one in view.balances
    ]
    headings = ("TENANT", "PAID IN", "SPENT", "RESERVED", "LEFT")
    print_table(headings, rows, "nobody has prepaid credit")
    entries = [
        (
            format_instant(entry.at_ms),
            entry.tenant,
            format_money(entry.asked_micro, entry.currency),
            entry.state,
            format_money(entry.amount_micro, entry.currency),
            entry.reason,
        )
        for entry in view.entries
    ]
    if entries:
        click.echo()
        print_table(("AT", "TENANT", "ASKED", "STATE", "MOVED", "REASON"), entries, "")


def _left(one: BudgetView) -> int:
    return one.limit - one.spent - one.reserved


def _amount(one: BudgetView, amount: int) -> str:
    from penstock_client.durations import format_gpu_hours, format_money

    if one.unit == "gpu_milli_ms":
        return f"{format_gpu_hours(amount)} GPU h"
    return format_money(amount, one.currency)
