"""How does the queue stand?

The command queue: pools, who is over and under, what is kept for whom; or the policy as a file. It
does not know why a job waits: that is `explain`.
"""

from __future__ import annotations

import click

from penstock_client.commands.access import Access, mesh_options


@click.command()
@click.option("--pool", default="", help="Only this pool.")
@click.option("--toml", "as_toml", is_flag=True, help="Print the policy, as apply takes it.")
@mesh_options
def queue(access: Access, pool: str, as_toml: bool) -> int:
    """Show pools and quotas: what is held, who waits, who is over its guarantee and who is owed."""
    from msgspec.structs import replace

    from penstock_client.commands.queue_tables import print_kept, print_pools, print_quotas
    from penstock_client.commands.tables import print_json
    from penstock_client.policy_text import policy_text
    from penstock_client.queueing import held_policy
    from penstock_client.queueing import queue as ask_queue

    if as_toml:
        if access.as_json or pool:
            raise click.UsageError("--toml prints all of the policy, and nothing else")
        click.echo(policy_text(access.run(lambda c: held_policy(c.bus)).policy), nl=False)
        return 0
    view = access.run(lambda client: ask_queue(client.bus))
    if pool:
        if all(one.name != pool for one in view.pools):
            raise click.UsageError(f"there is no pool {pool}")
        pools = tuple(one for one in view.pools if one.name == pool)
        quotas = tuple(one for one in view.quotas if one.pool == pool)
        view = replace(view, pools=pools, quotas=quotas)
    if access.as_json:
        print_json(view)
        return 0
    print_pools(view.pools)
    if view.quotas:
        click.echo()
        print_quotas(view.quotas)
    if any(one.kept for one in view.pools):
        click.echo()
        print_kept(view.pools)
    return 0
