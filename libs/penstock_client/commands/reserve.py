"""Which nodes are set aside, when, and for whom?

The commands reserve add, list and remove. It does not know what runs there.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    from penstock_contracts.queue_policy import QueuePolicy, Reservation

HEADINGS = ("RESERVATION", "STATE", "START", "END", "FOR", "NODES", "REASON")


@click.group()
def reserve() -> None:
    """Set nodes aside for a tenant, or for maintenance."""


@reserve.command("add")
@click.argument("name")
@click.option(
    "--start", default="now", show_default=True, help="2026-12-01T08:00, or in a while: 2h."
)
@click.option("--end", help="The same.")
@click.option("--for", "length", metavar="D", help="Instead of --end: for so long.")
@click.option("--node", "nodes", multiple=True, help="This node; several may be named.")
@click.option(
    "--node-label", "labels", metavar="NAME=VALUE", multiple=True, help="Nodes with all of these."
)
@click.option("--tenant", help="For whom; without, for nobody: maintenance.")
@click.option("--project", help="Only for this project of the tenant.")
@click.option("--reason", help="For people.")
@mesh_options
def add(
    access: Access,
    name: str,
    start: str,
    end: str | None,
    length: str | None,
    nodes: tuple[str, ...],
    labels: tuple[str, ...],
    **given: str | None,
) -> int:
    """Set nodes aside from --start to --end. What still runs there then and is not of who they are
    for is asked to end, and put back in line.

    \b
    penstock reserve add fans --start 2026-12-01T08:00 --for 4h --node node-a --reason "new fans"
    penstock reserve add paper --start 2h --for 2d --node-label gpu=h100 --tenant acme
    """
    from penstock_client.commands.instants import coming_ms
    from penstock_client.commands.policy_change import change, labels_of, put, read_words

    if (end is None) == (length is None):
        raise click.UsageError("say either --end or --for")
    now_ms = time.time_ns() // 1_000_000_000 * 1_000
    start_ms = coming_ms(start, now_ms, "--start")
    what = {"nodes": list(nodes), "node_labels": labels_of(labels, "--node-label")}
    fields = read_words("reservations", {"name": name, **given, **what})
    fields["start_ms"] = start_ms
    if end is not None:
        fields["end_ms"] = coming_ms(end, now_ms, "--end")
    else:
        fields["end_ms"] = coming_ms(length or "", start_ms, "--for")

    def with_it(policy: QueuePolicy) -> QueuePolicy:
        if any(one.name == name for one in policy.reservations):
            raise click.UsageError(f"there is a reservation {name} already; remove it first")
        return put(policy, "reservations", name, fields)

    return change(access, with_it)


@reserve.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@mesh_options
def remove(access: Access, names: tuple[str, ...]) -> int:
    """Remove reservations: their nodes are for all again."""
    from penstock_client.commands.policy_change import remove as remove_entries

    return remove_entries(access, "reservations", names)


@reserve.command("list")
@mesh_options
def list_reservations(access: Access) -> int:
    """List reservations, those that are over too."""
    from penstock_client.commands.tables import print_json, print_table
    from penstock_client.queueing import held_policy

    held = access.run(lambda client: held_policy(client.bus))
    found = sorted(held.policy.reservations, key=lambda one: (one.start_ms, one.name))
    if access.as_json:
        print_json({"version": held.version, "reservations": found})
        return 0
    now_ms = time.time_ns() // 1_000_000
    print_table(HEADINGS, [_row(one, now_ms) for one in found], "nothing is reserved")
    return 0


def _row(one: Reservation, now_ms: int) -> tuple[str, ...]:
    from penstock_client.durations import format_duration, format_instant

    if now_ms < one.start_ms:
        state = f"in {format_duration(one.start_ms - now_ms)}"
    else:
        state = "now" if now_ms < one.end_ms else "over"
    labels = " ".join(f"{key}={value}" for key, value in sorted(one.node_labels.items()))
    tenant = f"{one.tenant}/{one.project}" if one.project else one.tenant
    return (
        one.name,
        state,
        format_instant(one.start_ms),
        format_instant(one.end_ms),
        tenant or "nobody",
        labels or " ".join(one.nodes),
        one.reason,
    )
