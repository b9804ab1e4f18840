"""How does an operator let hosts in?

The commands `penstock node invite`, `approve` and `invitations`. It does not know who decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_contracts.joining import Invitation

KEY_LETTERS = 12


@click.command()
@click.option("--site", default="", help="Label `site` of the node, whatever the host says.")
@click.option("--pool", default="", help="Label `pool` of the node, whatever the host says.")
@click.option("--name", default="", metavar="NODE", help="The node's name.  [default: the host's]")
@click.option("--ttl", default="15m", show_default=True, metavar="D", help="How long: 10s to 7d.")
@click.option(
    "--ask", is_flag=True, help="Let the host wait until `penstock node approve` is called."
)
@click.option(
    "--server",
    metavar="URL",
    help="Where the host reaches the broker.  [default: as this command does]",
)
@mesh_options
def invite(
    access: Access, site: str, pool: str, name: str, ttl: str, ask: bool, server: str | None
) -> int:
    """Print a token with which one host can join, once: `penstock agent --join TOKEN`."""
    from penstock_client import inviting
    from penstock_client.address import resolve
    from penstock_client.commands.run import duration_of
    from penstock_client.commands.tables import print_json
    from penstock_contracts.joining import TTL_S, InviteNode

    wish = InviteNode(
        key="",
        node=name,
        site=site,
        pool=pool,
        ttl_s=duration_of(ttl, "--ttl") or TTL_S,
        approved=not ask,
    )

    async def work(client: Client) -> tuple[str, Invitation]:
        url = server or resolve(access.url, access.creds).url
        return await inviting.invite(client, url, wish)

    token, made = access.run(work)
    if access.as_json:
        print_json({"token": token, "key": made.key, "expires_ms": made.expires_ms})
        return 0
    click.echo(token)
    click.echo(
        f"For one host, for {ttl}. It runs: penstock agent --join TOKEN"
        + ("; then: penstock node approve NODE" if ask else ""),
        err=True,
    )
    return 0


@click.command()
@click.argument("name", metavar="NODE")
@mesh_options
def approve(access: Access, name: str) -> int:
    """Let the host in that waits to be NODE."""
    from penstock_client import inviting
    from penstock_client.commands.tables import print_json

    made = access.run(lambda client: inviting.approve(client, name))
    if access.as_json:
        print_json(made)
    else:
        click.echo(f"{name}  {made.state} by {made.host_key}")
    return 0


@click.command()
@mesh_options
def invitations(access: Access) -> int:
    """List invitations: open ones, hosts that wait for approval, used ones."""
    from penstock_client import inviting
    from penstock_client.commands.tables import print_json, print_table

    found = access.run(inviting.invitations)
    if access.as_json:
        print_json(found)
        return 0
    rows = [
        (one.key[:KEY_LETTERS], one.state, one.node, one.site, one.pool, one.host_key[:KEY_LETTERS])
        for one in found
    ]
    headings = ("INVITATION", "STATE", "NODE", "SITE", "POOL", "HOST KEY")
    print_table(headings, rows, "nobody is invited; `penstock node invite` prints a token")
    return 0
