"""How did a job's use become part of a bill?

The command ledger explain. It does not know how anything is computed: it shows what the ledger
answers, from the segments down to the last rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    from penstock_contracts.bills import JobAccount, LeaseShown, ShareShown


@click.command()
@click.argument("job_id", metavar="JOB")
@mesh_options
def explain(access: Access, job_id: str) -> int:
    """Say how JOB came to its part of a bill: every segment, price and rounding."""
    from penstock_client.billing import job_account
    from penstock_client.commands.tables import print_fields, print_json

    account = access.run(lambda client: job_account(client.bus, job_id))
    if access.as_json:
        print_json(account)
        return 0
    print_fields(
        [
            ("job", account.job_id),
            ("tenant", account.tenant),
            ("project", account.project),
            ("state", account.state),
            ("shown", "only the newest; there is more" if account.cut else ""),
        ]
    )
    for lease in account.leases:
        _print_lease(lease)
    _print_rated(account)
    for share in account.shares:
        _print_share(share)
    if not account.shares:
        click.echo("\nNothing of it costs anything, or nothing of it is in the ledger yet.")
    return 0


def _print_lease(lease: LeaseShown) -> None:
    from penstock_client.commands.tables import print_table
    from penstock_client.durations import format_instant

    click.echo(
        f"\nAttempt {lease.attempt}, rank {lease.rank} on {lease.node} (lease {lease.lease_seq}): "
        f"granted {format_instant(lease.granted_ms)}, started {format_instant(lease.started_ms)}, "
        f"exited {format_instant(lease.exited_ms)}, released {format_instant(lease.released_ms)}"
    )
    rows = [
        (
            str(segment.seq),
            format_instant(segment.t0_ms),
            format_instant(segment.t1_ms),
            f"{segment.t1_ms - segment.t0_ms} ms",
            "no" if segment.counted_ms is None else f"{segment.counted_ms} ms",
            f"{len(segment.devices)} × {segment.milli} milli-GPU"
            if segment.devices
            else f"{segment.milli} milli-CPU",
            segment.why,
        )
        for segment in lease.segments
    ]
    headings = ("SEGMENT", "FROM", "TO", "RAN", "COUNTS", "ON", "")
    if rows:
        print_table(headings, rows, "")
    elif lease.removed:
        click.echo("Its segments were removed after their month was closed.")
    if lease.segments_said is not None and len(rows) < lease.segments_said and not lease.removed:
        click.echo(f"Its agent says that there are {lease.segments_said} segments.")


def _print_rated(account: JobAccount) -> None:
    from penstock_client.commands.tables import print_table
    from penstock_client.durations import format_instant

    rows = [
        (
            f"{row.lease_seq}/{row.rank}",
            row.sku,
            row.device or "(host)",
            row.state,
            format_instant(row.from_ms),
            format_instant(row.to_ms),
            str(row.quantity),
            str(row.billed_quantity),
            f"version {row.price_version}" if row.price_version else "none",
            f"{row.period} for {row.corrects}" if row.corrects else row.period,
        )
        for row in account.rated
    ]
    if rows:
        click.echo("\nWhat it used, each stretch at one price:")
        headings = (
            "LEASE", "SKU", "DEVICE", "STATE", "FROM", "TO", "QUANTITY", "BILLED", "PRICE", "BILL",
        )  # fmt: skip
        print_table(headings, rows, "")


def _print_share(share: ShareShown) -> None:
    from penstock_client.bill_words import money_words, quantity_words, unit_words
    from penstock_contracts.prices import QUANTITY_NAMES, QUANTITY_PER_UNIT

    line, unit = share.line, unit_words(share.line.unit)
    where = f"line {line.number} of {share.document}" if share.document else "a draft"
    name = QUANTITY_NAMES.get(line.unit, line.unit)
    per_unit = QUANTITY_PER_UNIT.get(line.unit, 1)
    paid = line.billed_quantity - line.free_quantity
    billed = quantity_words(line.billed_quantity, line.unit)
    click.echo(
        f"\n{line.sku}, price version {line.price_version}: "
        f"{money_words(line.price_micro)} {share.currency} for 1 {unit}, billed in steps of "
        f"{share.granularity_ms} ms, at least {share.minimum_ms} ms; on the bill of {share.period} "
        f"({where})"
    )
    if line.corrects:
        click.echo(
            f"  It corrects {line.corrects}: what that month costs now less what was billed for it."
        )
    click.echo(
        f"  the line: {line.billed_quantity} {name} ({billed} {unit}) "
        f"less {line.free_quantity} free = {paid}"
    )
    if not line.corrects:
        click.echo(
            f"  {paid} × {line.price_micro} / {per_unit}, rounded once, half to even"
            f" = {line.amount_micro} micro-{share.currency}"
        )
    rounding = "one of the units left over" if share.rounded_up else "rounded down"
    rest = f" and {share.exact_rest}/{share.exact_of}, {rounding}" if share.exact_rest else ""
    click.echo(
        f"  this job's part: {share.billed_quantity} of {line.billed_quantity} = "
        f"{share.exact_micro}{rest}: {money_words(share.amount_micro)} {share.currency}"
    )
