"""What does each tenant owe for a month?

The commands bill, bill close, bill credit, bill party and bill accounts. It does not know how
amounts are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    from penstock_contracts.bills import Bill, BillsView


def _month_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--month", default="", metavar="2026-11", help="UTC; default this month.")(
        command
    )


@click.group(invoke_without_command=True)
@_month_option
@click.option("--tenant", default="", help="Only this tenant's, with its lines.")
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page to print."
)
@mesh_options
def bill(access: Access, month: str, tenant: str, html: Path | None) -> int | None:
    """Show the bills of a month: as issued, or as they would be now."""
    if click.get_current_context().invoked_subcommand is not None:
        return None
    from penstock_client.billing import bills
    from penstock_client.commands.tables import print_json

    view = access.run(lambda client: bills(client.bus, month, tenant))
    if html is not None:
        from penstock_client.bill_page import bills_page

        html.write_text(bills_page(view.bills, view.now_ms), encoding="utf-8")
    if access.as_json:
        print_json(view)
    elif html is not None:
        click.echo(f"{len(view.bills)} bill(s) of {view.month} in {html}")
    else:
        _print(view)
    return 0


@bill.command("close")
@click.option("--month", default="", metavar="2026-11", help="Default: the one that is due.")
@mesh_options
def close(access: Access, month: str) -> int:
    """Close a month that is over: issue its invoices. What comes late goes to the next."""
    from penstock_client.bill_words import money_words
    from penstock_client.billing import close_period
    from penstock_client.commands.tables import print_fields, print_json

    closed = access.run(lambda client: close_period(client.bus, month))
    if access.as_json:
        print_json(closed)
        return 0
    totals = [f"{money_words(micro)} {name}" for name, micro in closed.totals_micro.items()]
    print_fields(
        [
            ("closed", closed.month),
            ("documents", str(closed.documents)),
            ("total", ", ".join(totals)),
            (
                "unfinished",
                f"{closed.unfinished} lease(s) still hold devices: what they used before the "
                "month's end and is not here yet goes to the next bill"
                if closed.unfinished
                else "",
            ),
        ]
    )
    return 0


@bill.command("credit")
@click.argument("invoice", metavar="INVOICE")
@click.option("--line", type=int, default=0, help="Only this line of it.")
@click.option("--amount", metavar="12.50", help="Default: all that is left.")
@click.option("--reason", required=True, help="Stands on the credit note.")
@mesh_options
def credit(access: Access, invoice: str, line: int, amount: str | None, reason: str) -> int:
    """Issue a credit note: take back what an invoice asks for, or a part of it."""
    from penstock_client.amounts import parse_micro
    from penstock_client.billing import credit_invoice
    from penstock_client.commands.tables import print_json

    try:
        amount_micro = None if amount is None else parse_micro(amount)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--amount") from error
    note = access.run(
        lambda client: credit_invoice(
            client.bus, invoice, reason, line=line, amount_micro=amount_micro
        )
    )
    if access.as_json:
        print_json(note)
    else:
        _print_bill(note)
    return 0


@bill.command("party")
@click.argument("tenant", default="")
@click.option("--name", required=True, help="As it stands on bills.")
@click.option("--address", multiple=True, help="A line of the address; give it for each line.")
@click.option("--tax-id", default="", help="Stands below the address.")
@mesh_options
def party(access: Access, tenant: str, name: str, address: tuple[str, ...], tax_id: str) -> int:
    """Say how TENANT (without: whoever sends the bills) stands on bills from now on."""
    from penstock_client.billing import set_party
    from penstock_client.commands.tables import print_fields, print_json
    from penstock_contracts.bills import Party

    wish = Party(name=name, address="\n".join(address), tax_id=tax_id)
    known = access.run(lambda client: set_party(client.bus, tenant, wish))
    if access.as_json:
        print_json(known)
    else:
        place = known.address.replace("\n", ", ")
        print_fields([("name", known.name), ("address", place), ("tax id", known.tax_id)])
    return 0


@bill.command("accounts")
@_month_option
@mesh_options
def accounts(access: Access, month: str) -> int:
    """Show what was posted to each account in a month, or would be if it were closed now."""
    from penstock_client import billing
    from penstock_client.bill_words import money_words
    from penstock_client.commands.tables import print_json, print_table

    view = access.run(lambda client: billing.accounts(client.bus, month))
    if access.as_json:
        print_json(view)
        return 0
    rows = [
        (
            one.account,
            money_words(one.debit_micro),
            money_words(one.credit_micro),
            money_words(one.balance_micro),
            one.currency,
        )
        for one in view.accounts
    ]
    for currency in sorted({one.currency for one in view.accounts}):
        own = [one for one in view.accounts if one.currency == currency]
        sums = [sum(one.debit_micro for one in own), sum(one.credit_micro for one in own)]
        shown = [money_words(micro) for micro in (*sums, sums[0] - sums[1])]
        rows.append(("total", shown[0], shown[1], shown[2], currency))
    headings = ("ACCOUNT", "DEBIT", "CREDIT", "BALANCE", "CURRENCY")
    print_table(headings, rows, f"nothing is posted in {view.month}")
    return 0


def _print(view: BillsView) -> None:
    from penstock_client.bill_words import money_words, title_words
    from penstock_client.commands.tables import print_table

    if len(view.bills) == 1:
        _print_bill(view.bills[0])
        return
    rows = [
        (
            title_words(one),
            one.tenant,
            str(len(one.lines)),
            money_words(one.total_micro),
            money_words(one.credit_micro) if one.credit_micro else "",
            money_words(one.total_micro - one.credit_micro),
            one.currency,
        )
        for one in view.bills
    ]
    totals: dict[str, int] = {}
    for one in view.bills:
        totals[one.currency] = totals.get(one.currency, 0) + one.total_micro
    rows += [
        ("total", "", "", money_words(micro), "", "", currency)
        for currency, micro in sorted(totals.items())
    ]
    headings = ("DOCUMENT", "TENANT", "LINES", "TOTAL", "FROM CREDIT", "DUE", "CURRENCY")
    print_table(headings, rows, f"nothing is billed in {view.month}")


def _print_bill(one: Bill) -> None:
    from penstock_client.bill_words import (
        correction_words,
        line_words,
        money_words,
        quantity_words,
        title_words,
        unit_words,
    )
    from penstock_client.commands.tables import print_fields, print_table

    print_fields(
        [
            ("document", title_words(one)),
            ("tenant", one.tenant),
            ("month", one.month),
            ("refers to", one.refers),
            ("reason", one.reason),
        ]
    )
    click.echo()
    rows = []
    for line in one.lines:
        words = (line_words(line, one), correction_words(line))
        quantity = quantity_words(line.billed_quantity, line.unit) if line.unit else ""
        rows.append(
            (
                str(line.number),
                ": ".join(word for word in reversed(words) if word),
                f"{quantity} {unit_words(line.unit)}".strip(),
                quantity_words(line.free_quantity, line.unit) if line.free_quantity else "",
                money_words(line.price_micro) if line.unit else "",
                money_words(line.amount_micro),
            )
        )
    rows.append(("", f"total ({one.currency})", "", "", "", money_words(one.total_micro)))
    if one.credit_micro:
        due = one.total_micro - one.credit_micro
        rows.append(("", "paid from credit", "", "", "", money_words(-one.credit_micro)))
        rows.append(("", "due", "", "", "", money_words(due)))
    print_table(("#", "WHAT", "QUANTITY", "FREE", "PRICE", "AMOUNT"), rows, "")
    if one.projects:
        click.echo()
        shares = [(p.project or "(none)", money_words(p.amount_micro)) for p in one.projects]
        print_table(("PROJECT", "AMOUNT"), shares, "")
