"""Who is guaranteed how much, and who may have how much at most?

The commands quota set, list and remove. It does not know what anybody holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    from penstock_contracts.queue_policy import QueuePolicy


@click.group()
def quota() -> None:
    """Guarantee GPUs to tenants and bound what they hold."""


@quota.command("set")
@click.argument("name")
@click.option("--parent", metavar="QUOTA", help="Below this one; without, below the pool.")
@click.option("--pool", help="In this pool; without, its parent's.")
@click.option("--tenant", help="Whose jobs count; without, only what is below it.")
@click.option("--project", help="Only the jobs of this project of the tenant.")
@click.option("--guaranteed-gpus", metavar="N", help="There whenever they are wanted.")
@click.option("--maximum-gpus", metavar="N|none", help="Never more at once.")
@click.option("--maximum-cores", metavar="N|none", help="Never more at once.")
@click.option("--queued-max", metavar="N|none", help="So many jobs may wait.")
@click.option("--weight", metavar="N", help="In this ratio what is idle is lent.")
@mesh_options
def set_quota(access: Access, name: str, **given: str | None) -> int:
    """Make the quota NAME, or change it; what is not said stays as it is.

    \b
    penstock quota set acme --guaranteed-gpus 40
    penstock quota set vision --parent acme --tenant acme --project vision --guaranteed-gpus 16
    penstock quota set vision --maximum-gpus 32
    """
    from penstock_client.commands.policy_change import change, put, read_words

    fields = read_words("quotas", {"name": name, **given})

    def with_it(policy: QueuePolicy) -> QueuePolicy:
        return put(policy, "quotas", name, fields)

    return change(access, with_it)


@quota.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@mesh_options
def remove(access: Access, names: tuple[str, ...]) -> int:
    """Remove quotas: their jobs count for the pool alone."""
    from penstock_client.commands.policy_change import remove as remove_entries

    return remove_entries(access, "quotas", names)


@quota.command("list")
@click.option("--pool", default="", help="Only those of this pool.")
@mesh_options
def list_quotas(access: Access, pool: str) -> int:
    """List quotas with what is held, wanted and guaranteed."""
    from penstock_client.commands.queue_tables import print_quotas
    from penstock_client.commands.tables import print_json
    from penstock_client.queueing import queue

    view = access.run(lambda client: queue(client.bus))
    found = tuple(one for one in view.quotas if pool in ("", one.pool))
    if access.as_json:
        print_json({"version": view.version, "quotas": found})
    else:
        print_quotas(found)
    return 0
