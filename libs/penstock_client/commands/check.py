"""Is every job and every device millisecond accounted for?

The command check: shows the comparison of the services' audits. It does not judge by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from penstock_client.cli import EXIT_FAILED
from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    from penstock_client.checking import Report


@click.command()
@mesh_options
def check(access: Access) -> int:
    """Audit every service at one watermark and compare their accounts.

    No device leased twice, every accepted job accounted for, device states sum to capacity, and the
    ledger agrees with the agents' own counters. Exit code 1 and a list when not.
    """
    from penstock_client.commands.tables import print_json

    report = access.run(lambda client: client.check())
    if access.as_json:
        print_json(report)
    else:
        _print(report)
    return 0 if report.ok else EXIT_FAILED


def _print(report: Report) -> None:
    from penstock_client.commands.tables import align, printable
    from penstock_client.durations import format_gpu_hours, format_instant

    scheduler, inventory, metering = report.scheduler, report.inventory, report.metering
    lines = []
    if scheduler is not None:
        ended = ", ".join(f"{count} {state}" for state, count in sorted(scheduler.finished.items()))
        lines.append(
            ("scheduler", f"{scheduler.accepted} jobs accepted, {scheduler.live} live"
             f"{', ' + ended if ended else ''}; {scheduler.leases} leases")
        )  # fmt: skip
    if inventory is not None:
        lines.append(("inventory", f"{inventory.nodes} nodes, {inventory.devices} devices"))
    if metering is not None:
        until = format_instant(metering.watermark_ms)
        lines.append(("metering", f"{metering.accepted} jobs, ledger complete until {until}"))
        if metering.silent:
            silent = ", ".join(sorted(metering.silent))
            lines.append(("silent", f"{silent} (compared up to their last report)"))
    if lines:
        click.echo(align(lines))
    if metering is not None and metering.device_milli_ms:
        capacity = metering.capacity_milli_ms
        rows = [("DEVICE STATE", "GPU HOURS", "SHARE")]
        for state, amount in sorted(metering.device_milli_ms.items()):
            share = f"{100 * amount / capacity:.2f} %" if capacity else "-"
            rows.append((state, format_gpu_hours(amount), share))
        rows.append(("capacity", format_gpu_hours(capacity), ""))
        click.echo(align(rows))
    for place, findings in report.findings.items():
        for finding in findings:
            sentence = f"{place}: {finding.code}: {printable(finding.sentence)}"
            click.echo(click.style(sentence, fg="red"))
    unknown = report.unaccounted_ms is None
    click.echo(f"unaccounted_ms {'unknown' if unknown else report.unaccounted_ms}")
