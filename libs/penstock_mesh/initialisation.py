"""How does a mesh whose processes run apart get its keys, credentials and streams?

`penstock mesh init` leaves in one directory what `penstock up` makes for itself: the keys, those of
them that inventory needs, one credential per service and node, the local user's, the HTTP token,
and `operator.conf`, which the broker's own configuration includes; for a cluster of brokers also
`cluster.conf`. `penstock mesh streams` makes the streams, once the broker runs. Both may be
repeated: what exists stays, and nodes can be added. It starts nothing.
"""

from __future__ import annotations

import re
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock_contracts.ids import is_token

if TYPE_CHECKING:
    from penstock_mesh.data_directory import DataDirectory

REPLICAS_MAX = 5
SERVER_FORM = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
ROUTE_SECRET_BYTES = 24


@click.group("mesh")
def command() -> None:
    """Prepare a mesh whose processes run apart."""


@command.command("init")
@click.option(
    "--data",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for keys and credentials; keep it from everybody else.",
)
@click.option(
    "--node", "nodes", multiple=True, metavar="NAME", help="A node that gets a credential."
)
@click.option(
    "--server",
    "servers",
    multiple=True,
    metavar="HOST[:PORT]",
    help="Where a broker of a cluster hears the others; give all of them, each time.",
)
@click.option(
    "--accounts",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the broker, where it keeps who was put out.  [default: it asks inventory "
    "again after each start]",
)
@click.option("--json", "json_output", is_flag=True, help="Print the paths as one JSON object.")
def init(
    data: Path,
    nodes: tuple[str, ...],
    servers: tuple[str, ...],
    accounts: Path | None,
    json_output: bool,
) -> None:
    """Make keys, credentials and the broker's operator.conf; what exists stays."""
    for node in nodes:
        if not is_token(node):
            raise click.UsageError(
                f"--node {node!r}: a name is 1 to 63 letters, digits, '_' or '-'"
            )
    for server in servers:
        if SERVER_FORM.fullmatch(server) is None:
            raise click.UsageError(f"--server {server!r}: it has the form HOST or HOST:PORT")
    paths = initialise(data, nodes, int(time.time()), servers, accounts)
    if json_output:
        import msgspec

        click.echo(msgspec.json.encode({name: str(path) for name, path in paths.items()}))
    else:
        for name, path in paths.items():
            click.echo(f"{name}: {path}")


@command.command("streams")
@click.option(
    "--url",
    envvar="PENSTOCK_NATS_URL",
    default="nats://127.0.0.1:4222",
    show_default=True,
    show_envvar=True,
    help="Where NATS listens; several servers of one cluster with commas between.",
)
@click.option(
    "--creds",
    envvar="PENSTOCK_NATS_CREDS",
    show_envvar=True,
    help="Credential of role admin.",
)
@click.option(
    "--replicas",
    type=click.IntRange(1, REPLICAS_MAX),
    default=1,
    show_default=True,
    help="Servers of the cluster that keep each stream; more is kept where there is more.",
)
@click.option("--json", "json_output", is_flag=True, help="Print the names as one JSON array.")
def streams(url: str, creds: str | None, replicas: int, json_output: bool) -> None:
    """Make the streams and buckets of the mesh, and update their bounds."""
    import asyncio

    import msgspec

    from penstock_bus.port import BusRefusal, Outage

    try:
        names = asyncio.run(make_streams(url, creds, replicas))
    except (BusRefusal, Outage) as error:
        raise click.ClickException(str(error)) from error
    click.echo(msgspec.json.encode(names) if json_output else "\n".join(names))


async def make_streams(url: str, creds: str | None, replicas: int = 1) -> list[str]:
    """The names of what is there now. Raises BusRefusal, Outage."""
    from penstock_bus.nats import connect
    from penstock_mesh.preparation import make_storage

    bus = await connect(url, name="mesh-streams", credentials=creds)
    try:
        return await make_storage(bus, replicas)
    finally:
        await bus.close()


def initialise(
    data: Path,
    nodes: tuple[str, ...],
    now_s: int,
    servers: tuple[str, ...] = (),
    accounts: Path | None = None,
) -> dict[str, Path]:
    """What was made, by name."""
    from penstock_mesh import nats_server
    from penstock_mesh.command_lines import NODE_CREDS, SERVICES
    from penstock_mesh.data_directory import DataDirectory
    from penstock_mesh.preparation import write_credentials
    from penstock_mesh.private_file import write_private

    directory = DataDirectory(data.resolve())
    node_paths = {node: directory.nodes / node / NODE_CREDS for node in nodes}
    trust = write_credentials(directory, node_paths, now_s)
    operator = directory.operator_config
    config = nats_server.render_trust(
        trust.operator_jwt(now_s), trust.system_account, trust.account_jwts(now_s), accounts
    )
    write_private(operator, config.encode("utf-8"))
    return {
        "keys": directory.keys,
        "broker": operator,
        **({"cluster": _write_cluster(directory, servers)} if servers else {}),
        "inventory's keys": directory.authority,
        "client": directory.client_creds,
        "http token": directory.http_token,
        **{name: directory.creds(name) for name in SERVICES},
        **{f"node {node}": path for node, path in node_paths.items()},
    }


def _write_cluster(directory: DataDirectory, servers: tuple[str, ...]) -> Path:
    """What the `cluster` block of every broker includes. The secret keeps strangers out of it."""
    from penstock_mesh import nats_server
    from penstock_mesh.private_file import write_private

    if not directory.route_secret.exists():
        secret = secrets.token_urlsafe(ROUTE_SECRET_BYTES)
        write_private(directory.route_secret, secret.encode("ascii"))
    routes = nats_server.Routes(
        hosts=tuple(
            server if ":" in server else f"{server}:{nats_server.CLUSTER_PORT}"
            for server in servers
        ),
        secret=directory.route_secret.read_text("ascii"),
    )
    config = nats_server.render_routes(routes)
    write_private(directory.cluster_config, config.encode("utf-8"))
    return directory.cluster_config
