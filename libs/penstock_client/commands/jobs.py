"""Which jobs are there, what is one like, and how is it ended?

The commands jobs, job and cancel. It does not know how services keep jobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_contracts.jobs import JobSpec
    from penstock_contracts.public import JobEvent
    from penstock_contracts.queries import JobView, RankView

CANCEL_WAIT_S = 3.0
COMMAND_WIDTH = 48


@click.command()
@click.option("--tenant", default="", help="Only this tenant's.")
@click.option("--state", default="", help="Only jobs in this state.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, help="At most so many.")
@click.option("--before", default="", metavar="ID", help="Only jobs older than this one.")
@mesh_options
def jobs(access: Access, tenant: str, state: str, limit: int, before: str) -> int:
    """List jobs, live and finished, newest first."""
    from penstock_client.commands.tables import print_json, print_table
    from penstock_client.durations import format_duration, format_instant
    from penstock_contracts.queries import JobsQuery

    query = JobsQuery(tenant=tenant, state=state, limit=limit, before=before)
    view, silent = access.run(lambda client: client.jobs(query))
    for service in silent:
        click.echo(f"penstock: {service} does not answer; its jobs are missing here", err=True)
    if access.as_json:
        print_json(view.jobs)
        return 0
    rows = [
        (
            job.job_id,
            job.tenant,
            job.state,
            job.spec.name or _shorten(" ".join(job.spec.command)),
            _shape_of(job),
            "" if job.exit_code is None else str(job.exit_code),
            format_instant(job.submitted_ms),
            format_duration(_run_ms(job)),
        )
        for job in view.jobs
    ]
    headings = ("JOB", "TENANT", "STATE", "NAME", "GPUS", "EXIT", "SUBMITTED", "RAN")
    print_table(headings, rows, "there are no jobs")
    if view.more:
        click.echo(f"more: penstock jobs --before {view.jobs[-1].job_id}", err=True)
    return 0


@click.command()
@click.argument("job_id", metavar="ID")
@mesh_options
def job(access: Access, job_id: str) -> int:
    """Show one job."""
    from penstock_client.commands.around import around
    from penstock_client.commands.tables import print_fields, print_json, print_table
    from penstock_client.commands.turns import turn_said

    view = access.run(lambda client: client.job(job_id))
    if access.as_json:
        print_json(view)
        return 0
    print_fields([*_fields_of(view), *turn_said(view.spec), *around(view.spec)])
    if view.ranks:
        headings = ("RANK", "NODE", "DEVICES", "EXIT", "REASON")
        print_table(headings, [_rank_row(rank) for rank in view.ranks], "")
    if stored := [row for rank in view.ranks for row in _stored_rows(rank)]:
        print_table(("RANK", "OUTPUT", "KEPT AS", "BYTES", "SHA256"), stored, "")
    return 0


@click.command()
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--tenant", help="Whose jobs they are.  [default: looked up]")
@click.option("--reason", default="", help="Kept with the job.")
@click.option("--no-wait", is_flag=True, help="Return once the wish is durable.")
@mesh_options
def cancel(
    access: Access, job_ids: tuple[str, ...], tenant: str | None, reason: str, no_wait: bool
) -> int:
    """Cancel jobs: waiting ones end at once, running ones within their grace period."""
    from penstock_client.commands.tables import print_json

    async def cancel_all(client: Client) -> list[tuple[str, JobEvent | None]]:
        ends: list[tuple[str, JobEvent | None]] = []
        for job_id in job_ids:
            whose = tenant or await client.tenant_of(job_id)
            if no_wait:
                await client.cancel(job_id, whose, reason=reason)
                ends.append((job_id, None))
            else:
                end = await client.cancel_and_watch(
                    job_id, whose, timeout_s=CANCEL_WAIT_S, reason=reason
                )
                ends.append((job_id, end))
        return ends

    ends = access.run(cancel_all)
    if access.as_json:
        print_json([{"job_id": job_id, "state": _state_of(end)} for job_id, end in ends])
        return 0
    for job_id, end in ends:
        click.echo(f"{job_id}  {_state_of(end)}")
    return 0


def _state_of(end: JobEvent | None) -> str:
    return "cancelling" if end is None else end.fact


def _fields_of(view: JobView) -> list[tuple[str, str]]:
    from penstock_client.durations import (
        format_duration,
        format_gpu_hours,
        format_instant,
        format_money,
    )

    spec = view.spec
    used = "" if view.gpu_milli_ms is None else f"{format_gpu_hours(view.gpu_milli_ms)} GPU h"
    return [
        ("job", view.job_id),
        ("name", spec.name),
        ("tenant", view.tenant),
        ("state", view.state),
        ("reason", ": ".join(part for part in (view.reason, view.message) if part)),
        ("exit code", "" if view.exit_code is None else str(view.exit_code)),
        ("signal", "" if view.signal is None else str(view.signal)),
        ("command", _quoted(spec.command)),
        ("asked for", _choices_of(view)),
        ("got", _shape_of(view) if spec.alternatives and _is_placed(view) else ""),
        ("where", _where_of(spec)),
        ("priority", str(spec.priority)),
        ("attempt", str(view.attempt)),
        ("submitted", format_instant(view.submitted_ms)),
        ("expected", _expected(view)),
        ("started", "" if view.started_ms is None else format_instant(view.started_ms)),
        ("finished", "" if view.finished_ms is None else format_instant(view.finished_ms)),
        ("ran", "" if view.started_ms is None else format_duration(_run_ms(view))),
        ("used", used),
        ("cost", "" if view.cost_micro is None else format_money(view.cost_micro, view.currency)),
    ]


def _expected(view: JobView) -> str:
    """When it was expected to be placed, and how good that was."""
    from penstock_client.expected_starts import what_was_said

    if view.estimated_ms is None:
        return ""
    return what_was_said(view.expected_ms, view.estimated_ms, view.placed_ms)


def _rank_row(rank: RankView) -> tuple[str, str, str, str, str]:
    code = "" if rank.exit_code is None else str(rank.exit_code)
    if rank.signal is not None:
        code = f"signal {rank.signal}"
    return str(rank.rank), rank.node, " ".join(rank.devices), code, rank.reason


def _stored_rows(rank: RankView) -> list[tuple[str, ...]]:
    return [
        (str(rank.rank), each.path, each.target, str(each.bytes), each.sha256)
        for each in rank.outputs
    ]


def _shape_of(view: JobView) -> str:
    """`4 x 2` = four ranks of two GPUs; `0.25` = a quarter of one. Of several choices the one it
    got, while it waits what it prefers."""
    return _shape(view.spec.resolved(view.alternative))


def _is_placed(view: JobView) -> bool:
    return bool(view.ranks) and view.finished_ms is None


def _choices_of(view: JobView) -> str:
    choices = range(len(view.spec.alternatives) + 1)
    return " or ".join(_shape(view.spec.resolved(choice)) for choice in choices)


def _shape(spec: JobSpec) -> str:
    gpus = str(spec.gpus) if spec.gpu_milli == 1000 else f"{spec.gpu_milli / 1000:g}"
    models = f" {','.join(spec.gpu_models)}" if spec.gpu_models else ""
    return (gpus if spec.ranks == 1 else f"{spec.ranks} x {gpus}") + models


def _where_of(spec: JobSpec) -> str:
    """What it asks of its places, beside devices."""
    said = []
    if spec.near:
        said.append(f"near in one {spec.near}{' (required)' if spec.near_required else ''}")
    if spec.spread:
        said.append(f"at most {spec.spread_ranks} rank(s) in one {spec.spread}")
    if spec.node_labels:
        said.append(" ".join(f"{key}={value}" for key, value in sorted(spec.node_labels.items())))
    if spec.apart:
        said.append(f"apart from other {spec.apart}")
    return "; ".join(said)


def _run_ms(view: JobView) -> int | None:
    """How long it ran, known once it has ended."""
    if view.started_ms is None or view.finished_ms is None:
        return None
    return view.finished_ms - view.started_ms


def _quoted(command: tuple[str, ...]) -> str:
    import shlex

    return shlex.join(command)


def _shorten(text: str) -> str:
    return text if len(text) <= COMMAND_WIDTH else text[: COMMAND_WIDTH - 1] + "…"
