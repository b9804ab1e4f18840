"""How is a job's output shown after or while it is written?

The command logs. It does not know how output is stored.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from penstock_client.cli import EXIT_FAILED
from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_client.commands.output import Output


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends.")
@click.option("--rank", type=click.IntRange(0), help="Only this rank's.")
@click.option("--tenant", help="Whose job it is.  [default: looked up]")
@mesh_options
def logs(access: Access, job_id: str, follow: bool, rank: int | None, tenant: str | None) -> int:
    """Show what a job wrote: its stdout on stdout, its stderr on stderr, byte by byte."""
    from penstock_client.commands.output import Output

    output = Output(as_json=access.as_json, status=False)
    try:
        return access.run(lambda client: _show(client, output, job_id, tenant, rank, follow))
    finally:
        output.close()


async def _show(
    client: Client, output: Output, job_id: str, tenant: str | None, rank: int | None, follow: bool
) -> int:
    whose = tenant or await client.tenant_of(job_id)
    async with client.log_reader(job_id, whose, rank=rank) as reader:
        ending = asyncio.ensure_future(client.end_output(reader, job_id, whose, wait=follow))
        try:
            async for chunks in reader.stored():
                await output.write(chunks)
            if follow or await ending:
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
