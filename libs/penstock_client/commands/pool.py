"""Which nodes are together, and by which policy do jobs get them?

The commands pool set, list and remove. It does not know what runs there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from penstock_client.commands.access import Access, mesh_options
from penstock_contracts.queue_policy import Backfill, Order, Preempt

if TYPE_CHECKING:
    from penstock_contracts.queue_policy import QueuePolicy


@click.group()
def pool() -> None:
    """Put nodes into pools, and say how jobs get them."""


@pool.command("set")
@click.argument("name")
@click.option(
    "--node-label", "labels", metavar="NAME=VALUE", multiple=True, help="Nodes with all of these."
)
@click.option("--any-node", is_flag=True, help="Instead: every node that no pool before it takes.")
@click.option("--order", type=click.Choice(get_args(Order)), help="Who is next.")
@click.option("--backfill", type=click.Choice(get_args(Backfill)), help="What may go before.")
@click.option("--preempt", type=click.Choice(get_args(Preempt)), help="Who has to yield.")
@click.option("--hold", metavar="D", help="With order hold: for so long, 10m.")
@click.option("--aging", metavar="D", help="With order tiered: such a wait is worth one class.")
@click.option("--before", metavar="POOL", help="A new pool goes before this one.")
@mesh_options
def set_pool(
    access: Access,
    name: str,
    labels: tuple[str, ...],
    any_node: bool,
    before: str | None,
    **given: Any,
) -> int:
    """Make the pool NAME, or change it; what is not said stays as it is.

    A node is in the first pool all of whose labels it has. The first `pool set` leaves all other
    nodes in a pool `default`, where jobs go that name no pool.

    \b
    penstock pool set h100 --node-label gpu=h100 --order tiered --backfill easy
    penstock pool set default --order skip
    """
    from penstock_client.commands.policy_change import change, labels_of, put, read_words

    if labels and any_node:
        raise click.UsageError("say either --node-label or --any-node")
    if labels or any_node:
        given["node_labels"] = labels_of(labels, "--node-label")
    fields = read_words("pools", {"name": name, **given})

    def with_it(policy: QueuePolicy) -> QueuePolicy:
        policy = _with_default(policy)
        return put(policy, "pools", name, fields, _place(policy, before))

    return change(access, with_it)


def _with_default(policy: QueuePolicy) -> QueuePolicy:
    """The pool there is without any is a pool like others once there are more."""
    from msgspec.structs import replace

    from penstock_contracts.queue_policy import DEFAULT_POOL, Pool

    return policy if policy.pools else replace(policy, pools=(Pool(name=DEFAULT_POOL),))


def _place(policy: QueuePolicy, before: str | None) -> int:
    """Where a new pool goes: before one that takes every node, as it would get none behind it."""
    names = [pool.name for pool in policy.pools]
    if before is not None:
        if before not in names:
            raise click.UsageError(f"there is no pool {before}")
        return names.index(before)
    takes_all = (index for index, pool in enumerate(policy.pools) if not pool.node_labels)
    return next(takes_all, len(names))


@pool.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@mesh_options
def remove(access: Access, names: tuple[str, ...]) -> int:
    """Remove pools: their nodes go to the next one that takes them, their jobs to the default."""
    from penstock_client.commands.policy_change import remove as remove_entries

    return remove_entries(access, "pools", names)


@pool.command("list")
@mesh_options
def list_pools(access: Access) -> int:
    """List pools with their nodes, what is held and who waits."""
    from penstock_client.commands.queue_tables import print_pools
    from penstock_client.commands.tables import print_json
    from penstock_client.queueing import queue

    view = access.run(lambda client: queue(client.bus))
    if access.as_json:
        print_json({"version": view.version, "pools": view.pools})
    else:
        print_pools(view.pools)
    return 0
