"""How do the jobs of a file get submitted?

The command submit. It does not know the file's format, nor how requests are packed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock_client.cli import EXIT_REFUSED
from penstock_client.commands.access import Access, Failure, mesh_options

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_client.submission import Submitted
    from penstock_contracts.jobs import JobSpec

STDIN = "-"


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--tenant", help="Who pays, unless the file says.  [default: default]")
@click.option("--no-wait", is_flag=True, help="Do not wait for the scheduler's word.")
@mesh_options
def submit(access: Access, file: str, tenant: str | None, no_wait: bool) -> int:
    """Submit the jobs of FILE (YAML or JSON; `-` = stdin; several documents allowed).

    A document is a job, a list of jobs, or {jobs: [...]}, with the fields of the request; only
    `command` is required. Prints one job id a line. A job id that stands in the file makes
    repeating the command safe. Exit code 2 when any job was refused.
    """
    from penstock_client.failures import Refused
    from penstock_client.specifications import read_jobs
    from penstock_client.submission import CONFIRM_S
    from penstock_client.ulids import new_job_id

    try:
        jobs = read_jobs(_read(file), new_job_id)
    except Refused as error:
        refusal = error.refusal
        raise Failure(refusal.code, refusal.message, access.as_json, field=refusal.field) from error
    by_tenant: dict[str, list[JobSpec]] = {}
    for named, spec in jobs:
        by_tenant.setdefault(named or tenant or "default", []).append(spec)

    async def submit_all(client: Client) -> list[Submitted]:
        confirm_s = 0.0 if no_wait else CONFIRM_S
        return [
            await client.submit(specs, whose, confirm_s=confirm_s)
            for whose, specs in by_tenant.items()
        ]

    outcomes = access.run(submit_all)
    _show(access, outcomes, told=not no_wait)
    return EXIT_REFUSED if any(o.refused or o.rejected for o in outcomes) else 0


def _show(access: Access, outcomes: list[Submitted], *, told: bool) -> None:
    from penstock_client.commands.tables import print_json

    if access.as_json:
        print_json([_told(outcome, job) for outcome in outcomes for job in outcome.job_ids])
        return
    for outcome in outcomes:
        no = {**outcome.refused, **outcome.rejected}
        for job_id in outcome.job_ids:
            if job_id in no:
                refusal = no[job_id]
                click.echo(f"penstock: {job_id}: {refusal.code}: {refusal.message}", err=True)
            else:
                click.echo(job_id)
        if outcome.pending and told:
            click.echo(
                f"penstock: {len(outcome.pending)} jobs are stored, but the scheduler has not "
                "answered yet; it will take them when it is back",
                err=True,
            )


def _told(outcome: Submitted, job_id: str) -> dict[str, object]:
    """What is known about one job, for --json."""
    for state, refusals in (("refused", outcome.refused), ("rejected", outcome.rejected)):
        if job_id in refusals:
            return {"job_id": job_id, "state": state, "refusal": refusals[job_id]}
    return {"job_id": job_id, "state": "pending" if job_id in outcome.pending else "accepted"}


def _read(file: str) -> str:
    from penstock_client.specifications import FILE_BYTES_MAX

    try:
        if file == STDIN:
            data = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
        else:
            with Path(file).open("rb") as source:
                data = source.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise Failure("request_too_large", f"{file} is over {FILE_BYTES_MAX} bytes")
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"cannot read {file}: {error}") from error
