"""How does a file become the queue's policy?

The command apply: reads the file, shows what it would change, asks, and sets it. It does not know
what the policy means.
"""

from __future__ import annotations

import asyncio
from typing import IO, TYPE_CHECKING, Any

import click

from penstock_client.cli import EXIT_FAILED
from penstock_client.commands.access import Access, Failure, mesh_options

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_client.policy_file import FileFault
    from penstock_contracts.nodes import NodeView
    from penstock_contracts.queue_policy import PolicyVersion, QueuePolicy

UNCHECKED = "inventory does not answer; the policy was not compared with the nodes there are"


class FileRefused(Failure):
    """Each fault as compilers say them, `FILE:LINE: …`; with --json as objects."""

    def __init__(self, name: str, faults: tuple[FileFault, ...], as_json: bool) -> None:
        super().__init__(faults[0].code, faults[0].sentence, as_json, field=faults[0].field)
        self.name = name
        self.faults = faults

    def show(self, file: Any = None) -> None:
        from penstock_client.commands.tables import print_json, printable

        for fault in self.faults:
            text = f"{fault.code}: {fault.sentence}"
            click.echo(f"{self.name}:{fault.line}: {printable(text)}", err=True)
        if self.as_json:
            print_json({"file": self.name, "faults": self.faults})


@click.command()
@click.argument("file", type=click.File("rb"), metavar="FILE")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@mesh_options
def apply(access: Access, file: IO[bytes], dry_run: bool, yes: bool) -> int:
    """Set the queue's policy to what FILE says: pools, quotas and reservations, all of them.

    What would change is shown before anything does. `penstock queue --toml` prints the policy that
    holds as such a file.

    \b
    penstock queue --toml > policy.toml
    penstock apply policy.toml
    """
    from penstock_client.commands.policy_change import holds, line_of
    from penstock_client.commands.tables import print_json
    from penstock_client.policy_text import changes
    from penstock_client.queueing import set_policy, warnings

    if access.as_json and not (yes or dry_run):
        raise click.UsageError("--json does not ask: say --yes or --dry-run")
    data = file.read()
    policy = _read(access, file.name, data)
    held, nodes = access.run(_held_and_nodes)
    if nodes is not None:
        labels = {one.description.node: one.description.labels for one in nodes}
        policy = _read(access, file.name, data, labels)
    said = (UNCHECKED,) if nodes is None else warnings(policy, nodes)
    for sentence in said:
        click.echo(f"penstock: warning: {sentence}", err=True)
    found = changes(held.policy, policy)
    if not access.as_json:
        for one in found:
            click.echo(line_of(one))
    version, sets = held.version, bool(found) and not dry_run
    if sets:
        if not yes and not click.confirm(f"Apply these changes ({len(found)})?", err=True):
            click.echo("nothing was changed", err=True)
            return EXIT_FAILED
        version = access.run(lambda c: set_policy(c.bus, policy, held.version)).version
    if access.as_json:
        told = {"version": version, "changes": found, "applied": sets, "warnings": said}
        print_json({**told, "policy": policy})
    elif sets or not found:
        click.echo(holds(version, bool(found)))
    return 0


def _read(
    access: Access, name: str, data: bytes, labels: dict[str, dict[str, str]] | None = None
) -> QueuePolicy:
    from penstock_client.policy_file import PolicyFileError, read_policy

    try:
        return read_policy(data, labels)
    except PolicyFileError as error:
        raise FileRefused(name, error.faults, access.as_json) from error


async def _held_and_nodes(
    client: Client,
) -> tuple[PolicyVersion, tuple[NodeView, ...] | None]:
    """None: inventory does not answer."""
    from penstock_client.failures import Unavailable
    from penstock_client.queueing import held_policy

    held, nodes = await asyncio.gather(
        held_policy(client.bus), client.nodes(), return_exceptions=True
    )
    if isinstance(held, BaseException):
        raise held
    if isinstance(nodes, Unavailable):
        return held, None
    if isinstance(nodes, BaseException):
        raise nodes
    return held, nodes.nodes
