"""How is a job's output shown after or while it is written?

The command logs. It does not know how output is stored.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import click

from penstock_client.cli import EXIT_FAILED
from penstock_client.commands.access import Access, mesh_options
from penstock_client.commands.instants import instant_ms

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_client.commands.output import Output


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends.")
@click.option("--rank", type=click.IntRange(0), help="Only this rank's.")
@click.option(
    "--since", metavar="T", help="Stored from then on: 2026-11-23T08:00, or 10 minutes ago: 10m."
)
@click.option("--until", metavar="T", help="Stored before then.")
@click.option("--tenant", help="Whose job it is.  [default: looked up]")
@mesh_options
def logs(
    access: Access,
    job_id: str,
    follow: bool,
    rank: int | None,
    since: str | None,
    until: str | None,
    tenant: str | None,
) -> int:
    """Show what a job wrote: its stdout on stdout, its stderr on stderr, byte by byte.

    Where its node had no room for output, stderr says how much was dropped there.
    """
    from penstock_client.commands.output import Output

    if follow and until is not None:
        raise click.UsageError("--follow goes on until the job ends: leave out --until")
    wanted = Wanted(rank, _ns(since, "--since"), _ns(until, "--until"))
    output = Output(as_json=access.as_json, status=False)
    try:
        return access.run(lambda client: _show(client, output, job_id, tenant, wanted, follow))
    finally:
        output.close()


class Wanted(NamedTuple):
    """What of a job's output; instants by the broker's clock."""

    rank: int | None
    since_ns: int | None
    until_ns: int | None


def _ns(text: str | None, option: str) -> int | None:
    at_ms = instant_ms(text, option)
    return None if at_ms is None else at_ms * 1_000_000


async def _show(
    client: Client, output: Output, job_id: str, tenant: str | None, wanted: Wanted, follow: bool
) -> int:
    whose = tenant or await client.tenant_of(job_id)
    async with client.log_reader(job_id, whose, **wanted._asdict()) as reader:
        ending = asyncio.ensure_future(client.end_output(reader, job_id, whose, wait=follow))
        try:
            async for chunks in reader.stored():
                await output.write(chunks)
            if wanted.until_ns is None and (follow or await ending):
                async for chunks in reader.follow():
                    await output.write(chunks)
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
    for gap in reader.missing:
        click.echo(
            f"penstock: bytes {gap.start} to {gap.end} of {gap.stream} "
            f"(attempt {gap.attempt}, rank {gap.rank}) are missing",
            err=True,
        )
    return EXIT_FAILED if reader.missing else 0
