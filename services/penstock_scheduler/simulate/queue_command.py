"""How is the queue tried on a trace from the command line?

`penstock simulate queue`: options, and what is printed. It does not know how a run goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock_scheduler.simulate.options import positive
from penstock_scheduler.simulate.printing import print_aligned, print_json, progress_bar
from penstock_scheduler.simulate.refusals import Refused, refusing_tables

if TYPE_CHECKING:
    from penstock_contracts.queue_policy import QueuePolicy
    from penstock_scheduler.simulate.queue_jobs import Fleet
    from penstock_scheduler.simulate.queue_world import Story

POLICY_NAMES = ("penstock", "fifo", "sjf", "skip", "hold", "tiered", "easy", "conservative")
SCALE_MAX = 100.0
SIGNAL, NEVER = "signal", "never"
RESTART_S_MAX = 86_400
TICK_S_MAX = 86_400


def _checkpoint(ctx: click.Context, param: click.Parameter, value: str | None) -> str | int | None:
    """`signal`, `never`, or a number of seconds."""
    if value is None or value in (SIGNAL, NEVER):
        return value
    if value.isascii() and value.isdecimal() and len(value) <= 8 and int(value):
        return int(value)
    said = f"{value!r} is not signal, never or a number of seconds"
    raise click.BadParameter(said, ctx, param)


@click.command("queue")
@click.option("--jobs", type=click.Path(path_type=Path), required=True, help="File of jobs.")
@click.option(
    "--nodes", type=click.Path(path_type=Path), required=True, help="File of nodes to run them on."
)
@click.option(
    "--format",
    "trace_format",
    type=click.Choice(["philly", "penstock"]),
    default="penstock",
    show_default=True,
    help="Of both files: the Philly trace's CSV, or what jobs --json and nodes --json print.",
)
@click.option(
    "--scale",
    type=float,
    callback=positive(SCALE_MAX),
    default=1.0,
    show_default=True,
    help="Use so much of the nodes, of each cluster in whole nodes.",
)
@click.option(
    "--policy",
    "names",
    type=click.Choice(POLICY_NAMES),
    multiple=True,
    help="Repeat it to compare several; sjf knows how long each job takes.  [default: penstock]",
)
@click.option(
    "--policy-file",
    type=click.Path(path_type=Path),
    help="A policy in JSON, with pools and quotas; named after the file.",
)
@click.option(
    "--preempt", is_flag=True, help="What has much more to do yields to what is done soon."
)
@click.option(
    "--checkpoint",
    callback=_checkpoint,
    metavar="signal|never|SECONDS",
    help="What a job has saved when it yields: all, when it is told so; nothing; or every so many "
    "seconds.  [default: signal for philly, else what each job says]",
)
@click.option(
    "--restart-s",
    type=click.IntRange(0, RESTART_S_MAX),
    default=60,
    show_default=True,
    help="A job that has yielded needs so long before it works on.",
)
@click.option(
    "--on-nodes",
    is_flag=True,
    help="Philly: GPUs of a job on as few nodes as hold them; else they are only counted.",
)
@click.option(
    "--tick-s",
    type=click.IntRange(1, TICK_S_MAX),
    default=300,
    show_default=True,
    help="While somebody waits, yielding and places are thought about so often.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw who waits over time, and for how long, into a PNG file.",
)
@click.option("--json", "json_output", is_flag=True, help="Print JSON lines.")
def queue_command(
    jobs: Path,
    nodes: Path,
    trace_format: str,
    scale: float,
    names: tuple[str, ...],
    policy_file: Path | None,
    preempt: bool,
    checkpoint: str | int | None,
    restart_s: int,
    on_nodes: bool,
    tick_s: int,
    plot: Path | None,
    json_output: bool,
) -> None:
    """Let jobs come to a fleet, and see how long they wait under policies of the queue.

    The scheduler's own core decides, without knowing how long jobs take; of each policy it is told
    how long jobs waited and how much of the fleet was used.
    """
    from penstock_scheduler.simulate import queue_policies
    from penstock_scheduler.simulate.queue_jobs import mesh_fleet, philly_fleets
    from penstock_scheduler.simulate.queue_outcomes import line_of, summary
    from penstock_scheduler.simulate.queue_world import Play

    draw = _plotter(plot, json_output)
    policies: dict[str, QueuePolicy] = {}
    with refusing_tables(json_output):
        for name in dict.fromkeys(names or (() if policy_file else (queue_policies.PENSTOCK,))):
            policies[name] = queue_policies.named(name, preempt=preempt)
        if policy_file is not None:
            policies[policy_file.stem] = queue_policies.read(policy_file)
        if trace_format == "philly":
            fleets, left_out = philly_fleets(jobs, nodes, scale, on_nodes=on_nodes)
            checkpoint = SIGNAL if checkpoint is None else checkpoint
        else:
            fleet, left_out = mesh_fleet(jobs, nodes)
            fleets = [fleet._replace(nodes=fleet.nodes[: max(1, int(len(fleet.nodes) * scale))])]
    fleets = [saving(fleet, checkpoint) for fleet in fleets]
    lines: list[dict[str, Any]] = []
    told: dict[str, list[Story]] = {}
    total = sum(len(fleet.jobs) for fleet in fleets) * len(policies)
    with progress_bar(total) as progress:
        for name, policy in policies.items():
            how = Play(1000 * tick_s, 1000 * restart_s, queue_policies.knows(name))
            told[name] = run(fleets, policy, how, progress)
            line = line_of(name, told[name], left_out)
            line["preempt"] = any(pool.preempt == "all" for pool in policy.pools)
            lines.append(line)
            if json_output:
                print_json(line)
    found = summary(lines)
    if json_output:
        print_json(found)
    else:
        print_lines(lines, found)
    if draw is not None and plot is not None:
        try:
            draw(told, plot)
        except OSError as error:
            said = f"--plot {plot}: cannot be written: {error.strerror}"
            raise Refused("unwritable_file", said, json_output) from error


def run(
    fleets: Sequence[Fleet], policy: QueuePolicy, how: Any, progress: Callable[[int], None]
) -> list[Story]:
    """Each fleet by itself."""
    from penstock_scheduler.simulate.queue_world import play

    return [play(fleet, policy, how, progress) for fleet in fleets]


def saving(fleet: Fleet, checkpoint: str | int | None) -> Fleet:
    """The fleet's jobs, saving their work as is said; None = as each says itself."""
    import msgspec

    if checkpoint is None:
        return fleet
    every_s = checkpoint if isinstance(checkpoint, int) else None
    signal = "SIGTERM" if checkpoint == SIGNAL else ""
    jobs = tuple(
        job._replace(
            spec=msgspec.structs.replace(job.spec, checkpoint_signal=signal, checkpoint_s=every_s)
        )
        for job in fleet.jobs
    )
    return fleet._replace(jobs=jobs)


def print_lines(lines: Sequence[dict[str, Any]], found: dict[str, Any]) -> None:
    """A table, and what of the gap is closed."""
    heads = ["POLICY", "JOBS", "WAIT MEAN S", "P50 S", "P99 S", "MAX S", "COMPLETION MEAN S"]
    rows = [[*heads, "MAKESPAN S", "USED", "YIELDED", "GPU-HOURS LOST"]]
    for line in lines:
        times = [*line["queueing_s"].values(), line["completion_s"]["mean"], line["makespan_s"]]
        used = line["utilisation_percent"]
        rows.append(
            [
                line["policy"],
                f"{line['jobs']:,}",
                *("-" if value is None else f"{value:,.0f}" for value in times),
                "-" if used is None else f"{used:.2f} %",
                f"{line['preemptions']:,}",
                f"{line['gpu_hours_lost']:,.1f}",
            ]
        )
    print_aligned(rows)
    for line in lines:
        for tenant, error in line["share_error_percent"].items():
            click.echo(f"{line['policy']}: {tenant} held {error:+.2f} % against its fair share")
    for one in found["summary"]:
        if "gap_closed_percent" in one and one["policy"] not in ("fifo", "sjf"):
            closed = one["gap_closed_percent"]
            click.echo(f"{one['policy']} closes {closed:.1f} % of what lies between fifo and sjf")
    out, never = lines[0]["left_out"], lines[0]["never_ran"]
    if out or never:
        click.echo(f"{out:,} jobs could not be tried; {never:,} never ran")


def _plotter(
    plot: Path | None, as_json: bool
) -> Callable[[dict[str, list[Story]], Path], None] | None:
    """Asked for before anything runs: a missing library is told at once."""
    if plot is None:
        return None
    if not plot.parent.is_dir():
        raise Refused("unwritable_file", f"--plot {plot}: the folder is not there", as_json)
    try:
        from penstock_scheduler.simulate.queue_plot import draw
    except ImportError as error:
        said = f"--plot needs matplotlib ({error}): pip install 'penstock[plot]'"
        raise Refused("not_installed", said, as_json) from error
    return draw
