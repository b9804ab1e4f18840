"""Which nodes are there, what is free on them, and how are they taken out of service?

The commands nodes and node. It does not know who judges liveness.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from penstock_client.commands.access import Access, mesh_options
from penstock_client.commands.invitations import approve, invitations, invite

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_contracts.nodes import NodeDescription, NodeView
    from penstock_contracts.queries import NodeUse

UNKNOWN = "?"
PUT_OUT = (
    "Its key is revoked. What ran there still counts as running: when it surely does not, "
    "`penstock node remove {name}` once more."
)
HEADINGS: tuple[str, ...] = (
    "NODE",
    "STATE",
    "GPUS",
    "FREE",
    "MODELS",
    "CORES FREE",
    "MIB FREE",
    "LEASES",
)


@click.command()
@click.option("--wide", is_flag=True, help="Also rack, site and labels.")
@mesh_options
def nodes(access: Access, wide: bool) -> int:
    """List nodes and what is free on them."""
    from penstock_client.commands.tables import print_table

    views, use = access.run(_nodes_and_use)
    if use is None:
        click.echo("penstock: scheduler does not answer; what is free is unknown", err=True)
    if access.as_json:
        _print_nodes_json(views, use)
        return 0
    rows = [_row(view, (use or {}).get(view.description.node)) for view in views]
    headings = HEADINGS
    if wide:
        headings = (*headings, "RACK", "SITE", "LABELS")
        rows = [(*row, *_where(view)) for row, view in zip(rows, views, strict=True)]
    print_table(headings, rows, "there are no nodes; start an agent with `penstock agent`")
    return 0


@click.group()
def node() -> None:
    """Invite, show, cordon, uncordon, drain, fence or remove a node."""


for _command in (invite, approve, invitations):
    node.add_command(_command)


@node.command()
@click.argument("name", metavar="NODE")
@mesh_options
def show(access: Access, name: str) -> int:
    """Show one node and its devices."""
    from penstock_client.commands.tables import print_fields, print_json, print_table
    from penstock_client.durations import format_duration

    view = access.run(lambda client: client.node(name))
    if access.as_json:
        print_json(view)
        return 0
    about = view.description
    age = "" if view.seen_age_ms is None else f"{format_duration(view.seen_age_ms)} ago"
    print_fields(
        [
            ("node", about.node),
            ("state", _state(view)),
            ("reason", view.reason),
            ("seen", age),
            ("cores", f"{about.cpu_milli / 1000:g}"),
            ("memory", f"{about.memory_mib} MiB"),
            ("address", about.advertise_address),
            ("driver", _driver(about)),
            ("version", about.version),
            ("offers", " ".join(about.offers)),
            *((name, text) for name, text in sorted(about.facts.items())),
            ("boot", about.boot_id),
            ("key", view.key),
            ("labels", " ".join(f"{key}={value}" for key, value in sorted(about.labels.items()))),
        ]
    )
    rows = [
        (
            str(device.index),
            device.model,
            UNKNOWN if device.memory_mib is None else str(device.memory_mib),
            "healthy" if device.healthy else f"broken: {device.health_reason}",
            device.link_domain,
            device.uuid,
        )
        for device in about.devices
    ]
    print_table(("GPU", "MODEL", "MIB", "HEALTH", "LINK", "UUID"), rows, "it has no devices")
    return 0


def _driver(about: NodeDescription) -> str:
    """With what it says of itself, of which every device has the same."""
    known = {(device.driver_version, device.cuda_version) for device in about.devices}
    for version, cuda in sorted(known):
        return " ".join((about.driver, version, f"CUDA {cuda}" if cuda else "")).strip()
    return about.driver


def _verb(verb: str, help: str, *, deadline: bool = False, sure: str = "") -> None:
    """Adds `penstock node VERB NODE`."""

    def change(access: Access, name: str, reason: str, **options: Any) -> int:
        from penstock_client.commands.run import duration_of
        from penstock_client.commands.tables import print_json
        from penstock_contracts.nodes import NodeCommand

        deadline_s = duration_of(options.get("deadline"), "--deadline")
        command = NodeCommand(reason=reason, deadline_s=deadline_s)
        view = access.run(lambda client: client.command_node(name, verb, command))
        if access.as_json:
            print_json(view)
        else:
            removed = verb == "remove" and not view.revoked
            click.echo(f"{name}  {'removed' if removed else _state(view)}")
            if view.revoked:
                click.echo(PUT_OUT.format(name=name), err=True)
        return 0

    decorated: Callable[..., Any] = click.argument("name", metavar="NODE")(mesh_options(change))
    decorated = click.option("--reason", default="", help="Kept with the node.")(decorated)
    if deadline:
        decorated = click.option(
            "--deadline", metavar="D", help="Then stop and requeue what still runs: 10m, 1h."
        )(decorated)
    if sure:
        decorated = click.confirmation_option("--yes", prompt=sure)(decorated)
    node.command(verb, help=help)(decorated)


_verb("cordon", "Give it no new work.")
_verb("uncordon", "Let it have work again.")
_verb("drain", "Give it no new work and wait for what runs there.", deadline=True)
_verb(
    "fence",
    "Vouch that nothing of its last boot runs any more: its attempts count as lost, its devices "
    "as free. Only for a host that is off or gone.",
)
_verb(
    "remove",
    "Put a node out at once, by revoking its key; one that is away already is forgotten, and so is "
    "what ran there.",
)


async def _nodes_and_use(client: Client) -> tuple[tuple[NodeView, ...], dict[str, NodeUse] | None]:
    from penstock_client.failures import Unavailable

    views, use = await asyncio.gather(client.nodes(), client.nodes_use(), return_exceptions=True)
    if isinstance(views, BaseException):
        raise views
    by_name = sorted(views.nodes, key=lambda view: view.description.node)
    if isinstance(use, Unavailable):
        return tuple(by_name), None
    if isinstance(use, BaseException):
        raise use
    return tuple(by_name), {entry.node: entry for entry in use.nodes}


def _row(view: NodeView, use: NodeUse | None) -> tuple[str, ...]:
    about = view.description
    models = sorted({device.model for device in about.devices})
    if use is None:
        free = (UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
    else:
        devices = sum(device.free_milli for device in use.devices) / 1000
        free = (
            f"{devices:g}",
            f"{use.cpu_milli_free / 1000:g}",
            str(use.memory_mib_free),
            str(use.leases),
        )
    return (
        about.node,
        _state(view, use),
        str(len(about.devices)),
        free[0],
        ",".join(models),
        *free[1:],
    )


def _where(view: NodeView) -> tuple[str, str, str]:
    """Rack, site, and the labels beside them."""
    from penstock_contracts.asks import RACK, SITE

    labels = view.description.labels
    others = " ".join(f"{k}={v}" for k, v in sorted(labels.items()) if k not in (RACK, SITE))
    return labels.get(RACK, UNKNOWN), labels.get(SITE, UNKNOWN), others


def _state(view: NodeView, use: NodeUse | None = None) -> str:
    rests = f"resting ({use.resting})" if use is not None and use.resting else ""
    extra = "draining" if view.draining else "cordoned" if view.cordoned else rests
    extra = "revoked" if view.revoked else extra
    return f"{view.liveness} {extra}".strip()


def _print_nodes_json(views: tuple[NodeView, ...], use: dict[str, NodeUse] | None) -> None:
    import msgspec

    from penstock_client.commands.tables import print_json

    merged = []
    for view in views:
        entry = None if use is None else use.get(view.description.node)
        merged.append({**msgspec.to_builtins(view), "use": msgspec.to_builtins(entry)})
    print_json(merged)
