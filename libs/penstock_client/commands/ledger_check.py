"""Does the ledger agree with what the hosts counted?

The command ledger check: metering's own audit alone. It does not judge by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from penstock_client.cli import EXIT_FAILED
from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    from penstock_contracts.queries import MeteringAudit


@click.command()
@mesh_options
def check(access: Access) -> int:
    """Compare the ledger with the agents' own counters, now.

    Every agent that answers closes its books first. What the two accounts of device time differ by
    is unaccounted, and must be 0; every state of every device sums to its capacity. Exit code 1
    and a list when not. `penstock check` compares all services.
    """
    from penstock_client.checking import AUDIT_TIMEOUT_S
    from penstock_client.commands.tables import print_json
    from penstock_client.questions import ask
    from penstock_contracts.queries import MeteringAudit, MeteringAuditQuery

    question = MeteringAuditQuery(jobs_seq=0, nodes_seq=0)
    audit = access.run(
        lambda client: ask(
            client.bus, "metering", "audit", question, MeteringAudit, AUDIT_TIMEOUT_S
        )
    )
    if access.as_json:
        print_json(audit)
    else:
        _print(audit)
    return EXIT_FAILED if audit.unaccounted_ms or audit.findings else 0


def _print(audit: MeteringAudit) -> None:
    from penstock_client.commands.tables import align, printable
    from penstock_client.durations import format_gpu_hours, format_instant

    capacity = audit.capacity_milli_ms
    rows = [("DEVICE STATE", "GPU HOURS", "SHARE")]
    for state, amount in audit.device_milli_ms.items():
        share = f"{100 * amount / capacity:.2f} %" if capacity else "-"
        rows.append((state, format_gpu_hours(amount), share))
    rows.append(("capacity", format_gpu_hours(capacity), ""))
    click.echo(align(rows))
    if audit.silent:
        click.echo(f"silent {', '.join(audit.silent)} (compared up to their last report)")
    for finding in audit.findings:
        click.echo(click.style(f"{finding.code}: {printable(finding.sentence)}", fg="red"))
    until = format_instant(audit.watermark_ms)
    click.echo(f"unaccounted_ms {audit.unaccounted_ms} until {until}")
