"""What would other nodes, or another policy, have done for the jobs that a mesh has run?

The command simulate what-if, and the group it stands in beside the scheduler's own simulations. It
does not know how jobs are placed.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any

import click

from penstock_client.commands.access import Access, Failure, mesh_options

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_contracts.nodes import NodeView
    from penstock_contracts.queries import JobView
    from penstock_contracts.queue_policy import QueuePolicy

PAGE = 1_000
DAY_MS = 86_400_000
DAYS_MAX = 3_660
JOBS_MAX = 200_000
GPUS_MAX = 100_000
_GPUS = re.compile(r"([1-9][0-9]{0,5})x([A-Za-z0-9][A-Za-z0-9_. /-]{0,62})")


def _more(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[int, str], ...]:
    """`16xH100`, as often as given."""
    found = []
    for value in values:
        match = _GPUS.fullmatch(value)
        if match is None or int(match[1]) > GPUS_MAX:
            raise click.BadParameter(f"{value!r} is not like 16xH100", ctx, param)
        found.append((int(match[1]), match[2]))
    return tuple(found)


@click.command("what-if")
@click.option(
    "--add",
    "more",
    multiple=True,
    callback=_more,
    metavar="16xH100",
    help="So many more GPUs of a model, on nodes like those that have it.",
)
@click.option("--remove", "without", multiple=True, metavar="NODE", help="Without this node.")
@click.option(
    "--policy",
    "policy_file",
    type=click.File("rb"),
    metavar="FILE",
    help="Under the policy in this TOML file instead of the one that holds.",
)
@click.option(
    "--days",
    type=click.IntRange(1, DAYS_MAX),
    default=30,
    show_default=True,
    help="Of jobs submitted in the last so many days.",
)
@mesh_options
def what_if(
    access: Access,
    more: tuple[tuple[int, str], ...],
    without: tuple[str, ...],
    policy_file: IO[bytes] | None,
    days: int,
) -> int:
    """Let the mesh's own jobs come again, to other nodes or under another policy.

    What would 16 more H100 have done? `penstock simulate what-if --add 16xH100`
    """
    asked = None if policy_file is None else _read(access, policy_file)
    jobs, nodes, held = access.run(lambda client: _history(client, days))
    names = {node.description.node for node in nodes}
    for name in without:
        if name not in names:
            raise Failure("unknown_node", f"there is no node {name}", access.as_json)
    scheduler = import_module("penstock_scheduler.simulate.what_if")
    policies = (held, held if asked is None else asked)
    scheduler.compare(jobs, nodes, policies, more=more, without=without, as_json=access.as_json)
    return 0


def _read(access: Access, file: IO[bytes]) -> QueuePolicy:
    from penstock_client.commands.apply import FileRefused
    from penstock_client.policy_file import PolicyFileError, read_policy

    try:
        return read_policy(file.read())
    except PolicyFileError as error:
        raise FileRefused(file.name, error.faults, access.as_json) from error


async def _history(
    client: Client, days: int
) -> tuple[list[JobView], tuple[NodeView, ...], QueuePolicy]:
    """Finished jobs, the nodes and the policy that holds."""
    from penstock_client.queueing import held_policy
    from penstock_contracts.queries import JobsQuery

    found: list[JobView] = []
    before = ""
    while len(found) < JOBS_MAX:
        page, _ = await client.jobs(JobsQuery(limit=PAGE, before=before))
        found += page.jobs
        if not page.more or not page.jobs:
            break
        if page.jobs[-1].submitted_ms < found[0].submitted_ms - days * DAY_MS:
            break
        before = page.jobs[-1].job_id
    since_ms = found[0].submitted_ms - days * DAY_MS if found else 0
    mine = [job for job in found if job.submitted_ms >= since_ms]
    nodes = await client.nodes()
    return mine, nodes.nodes, (await held_policy(client.bus)).policy


def _group() -> click.Group:
    """The scheduler's simulations, and this one."""
    theirs: Any = import_module("penstock_scheduler.simulate.command").command
    commands = {**theirs.commands, "what-if": what_if}
    return click.Group("simulate", commands=commands, help=theirs.help)


simulate = _group()
