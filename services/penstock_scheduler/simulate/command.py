"""How is the placement core tried on a trace from the command line?

`penstock simulate placement`, and the group it stands in. It does not know how a run goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock_scheduler.simulate.options import chosen, positive, seeds_option, trace_options
from penstock_scheduler.simulate.printing import print_aligned, print_json, progress_bar
from penstock_scheduler.simulate.queue_command import queue_command
from penstock_scheduler.simulate.refusals import Refused, refusing_tables
from penstock_scheduler.simulate.replay_command import replay_command

if TYPE_CHECKING:
    from penstock_scheduler.simulate.placement import Run

INFLATE_MAX = 100.0


@click.group("simulate")
def command() -> None:
    """Try placement and the queue on a trace, in virtual time, with the scheduler's own core."""


command.add_command(replay_command)
command.add_command(queue_command)


@command.command("placement")
@trace_options
@seeds_option("42-51", "Orders of jobs.")
@click.option(
    "--inflate",
    type=float,
    callback=positive(INFLATE_MAX),
    default=1.3,
    show_default=True,
    help="How much arrives, as a multiple of the fleet's devices.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw allocation and fragmentation against arrived demand into a PNG file.",
)
def placement_command(
    nodes: Path,
    jobs: Path,
    policies: tuple[str, ...],
    workload: str,
    seeds: tuple[int, ...],
    inflate: float,
    plot: Path | None,
    json_output: bool,
) -> None:
    """Fill a fleet with jobs that stay, and see how much of it is used.

    Jobs come in a random order per seed, and more of them are drawn until --inflate times the
    fleet's devices have been asked for. One that fits nowhere is gone.
    """
    from penstock_scheduler.simulate.placement import Experiment, runs, summary
    from penstock_scheduler.simulate.traces import read_jobs, read_nodes

    draw = _plotter(plot, json_output)
    names = chosen(policies)
    with refusing_tables(json_output):
        fleet = read_nodes(nodes)
        experiment = Experiment(fleet, read_jobs(jobs, fleet), inflate, workload)
    problem = experiment.problem()
    if problem:
        raise Refused("bad_inflate", f"--inflate {inflate}: {problem}", json_output)
    found: list[Run] = []
    with progress_bar(experiment.total(len(seeds), len(names))) as progress:
        for run in runs(experiment, names, seeds, progress):
            found.append(run)
            if json_output:
                print_json(run.line())
    result = summary(found, names)
    if json_output:
        print_json(result)
    else:
        _print_table(found, result)
    if draw is not None and plot is not None:
        try:
            draw(found, plot)
        except OSError as error:
            said = f"--plot {plot}: cannot be written: {error.strerror}"
            raise Refused("unwritable_file", said, json_output) from error


def _plotter(plot: Path | None, as_json: bool) -> Callable[[Sequence[Run], Path], None] | None:
    """Asked for before anything runs: a missing library is told at once."""
    if plot is None:
        return None
    if not plot.parent.is_dir():
        raise Refused("unwritable_file", f"--plot {plot}: the folder is not there", as_json)
    try:
        from penstock_scheduler.simulate.plot import draw
    except ImportError as error:
        said = f"--plot needs matplotlib ({error}): pip install 'penstock[plot]'"
        raise Refused("not_installed", said, as_json) from error
    return draw


def _print_table(found: Sequence[Run], result: dict[str, Any]) -> None:
    percents = list(found[0].allocated_percent)
    heads = ["POLICY", "SEED", *(f"AT {p} %" for p in percents), "GPUS FREE", "DECISIONS/S"]
    rows = [
        [
            run.policy,
            str(run.seed),
            *(f"{run.allocated_percent[p]:.2f}" for p in percents),
            f"{run.unallocated_gpus:.1f}",
            f"{run.decisions_per_s:,.0f}",
        ]
        for run in found
    ]
    for line in result["summary"]:
        shares = line["allocated_percent"]
        rows.append(
            [
                line["policy"],
                "mean",
                *(_with_spread(shares[p]) for p in percents),
                f"{line['unallocated_gpus']['mean']:.1f}",
                f"{line['decisions_per_s']['mean']:,.0f}",
            ]
        )
    print_aligned([heads, *rows])
    for line in result["summary"]:
        if "paired_difference" in line:
            paired = line["paired_difference"]
            parts = [f"{paired[p]['mean']:+.2f} at {p} %" for p in percents]
            click.echo(f"{line['policy']} against {paired['to']}, paired: {', '.join(parts)}")


def _with_spread(spread: dict[str, Any]) -> str:
    return f"{spread['mean']:.2f}" + (f" ± {spread['sd']:.2f}" if spread["sd"] is not None else "")
