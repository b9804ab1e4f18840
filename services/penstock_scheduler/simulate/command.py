"""How is the placement core tried on a trace from the command line?

Options, refusals, and what is printed. It does not know how a run goes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock_scheduler.core.packing.policies import DEFAULT, POLICIES

if TYPE_CHECKING:
    from penstock_scheduler.simulate.placement import Run

EXIT_REFUSED = 2
SEEDS_MAX = 10_000
SEED_DIGITS_MAX = 18
INFLATE_MAX = 100.0
COMPRESS_MAX = 1e9
Command = TypeVar("Command", bound=Callable[..., Any])


class Refused(click.ClickException):
    """What was given cannot be used."""

    exit_code = EXIT_REFUSED


def _seeds(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """`42`, `1-20`, or several of these with commas."""
    found: list[int] = []
    for part in value.split(","):
        low, dash, high = part.strip().partition("-")
        if not _is_seed(low) or (dash and not _is_seed(high)):
            raise click.BadParameter(f"{value!r} is not like 42, 42-51 or 1,3,5-7", ctx, param)
        first, last = int(low), int(high or low)
        if last < first or len(found) + last - first >= SEEDS_MAX:
            raise click.BadParameter(f"{part!r}: at most {SEEDS_MAX} seeds, rising", ctx, param)
        found.extend(range(first, last + 1))
    return tuple(dict.fromkeys(found))


def _is_seed(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= SEED_DIGITS_MAX


def _inflate(ctx: click.Context, param: click.Parameter, value: float) -> float:
    if not 0 < value <= INFLATE_MAX:  # nor is it when it is not a number
        raise click.BadParameter(f"{value} is not above 0 and at most {INFLATE_MAX}", ctx, param)
    return value


@click.group("simulate")
def command() -> None:
    """Try placement policies on a trace, in virtual time, with the scheduler's own core."""


def _trace_options(function: Command) -> Command:
    """What every simulation takes."""
    for option in (
        click.option("--json", "json_output", is_flag=True, help="Print JSON lines."),
        click.option(
            "--policy",
            "policies",
            type=click.Choice(list(POLICIES)),
            multiple=True,
            help="Repeat it to compare several.  [default: penstock]",
        ),
        click.option(
            "--workload",
            type=click.Choice(["list", "online"]),
            default="list",
            show_default=True,
            help="Whether the jobs' distribution is known, or learned as they come.",
        ),
        click.option(
            "--jobs", type=click.Path(path_type=Path), required=True, help="CSV file of jobs."
        ),
        click.option(
            "--nodes", type=click.Path(path_type=Path), required=True, help="CSV file of nodes."
        ),
    ):
        function = option(function)
    return function


@command.command("placement")
@_trace_options
@click.option(
    "--seeds", callback=_seeds, default="42-51", show_default=True, help="Orders of jobs."
)
@click.option(
    "--inflate",
    type=float,
    callback=_inflate,
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
    from penstock_scheduler.simulate.tables import BadTable
    from penstock_scheduler.simulate.traces import read_jobs, read_nodes

    draw = _plotter(plot)
    chosen = tuple(dict.fromkeys(policies)) or (DEFAULT.name,)
    try:
        fleet = read_nodes(nodes)
        experiment = Experiment(fleet, read_jobs(jobs, fleet), inflate, workload)
    except BadTable as error:
        raise Refused(str(error)) from error
    found: list[Run] = []
    with _progress(experiment.total(len(seeds), len(chosen))) as progress:
        for run in runs(experiment, chosen, seeds, progress):
            found.append(run)
            if json_output:
                _print_json(run.line())
    result = summary(found, chosen)
    if json_output:
        _print_json(result)
    else:
        _print_table(found, result)
    if draw is not None and plot is not None:
        try:
            draw(found, plot)
        except OSError as error:
            raise Refused(f"--plot {plot}: cannot be written: {error.strerror}") from error


@command.command("replay")
@_trace_options
@click.option(
    "--compress",
    type=click.FloatRange(0, COMPRESS_MAX, min_open=True),
    default=1.0,
    show_default=True,
    help="Divide the times between arrivals by this; durations stay.",
)
def replay_command(
    nodes: Path,
    jobs: Path,
    policies: tuple[str, ...],
    workload: str,
    compress: float,
    json_output: bool,
) -> None:
    """Let jobs come and go at their times, and see how long they wait.

    The file of jobs needs the columns creation_time and deletion_time, in seconds. Jobs that do not
    fit wait in order of arrival; whoever fits may overtake.
    """
    from penstock_scheduler.simulate.replay import replays
    from penstock_scheduler.simulate.tables import BadTable
    from penstock_scheduler.simulate.traces import read_nodes, read_timed_jobs

    chosen = tuple(dict.fromkeys(policies)) or (DEFAULT.name,)
    try:
        fleet = read_nodes(nodes)
        timed = read_timed_jobs(jobs, fleet)
    except BadTable as error:
        raise Refused(str(error)) from error
    lines: list[dict[str, Any]] = []
    with _progress(len(timed) * len(chosen)) as progress:
        for found in replays(fleet, timed, chosen, compress, workload, progress):
            lines.append(found.line())
            if json_output:
                _print_json(lines[-1])
    if not json_output:
        _print_replays(lines)


def _print_replays(lines: Sequence[dict[str, Any]]) -> None:
    heads = ["POLICY", "WAITED", "MEAN S", "P50 S", "P99 S", "MAX S", "ALLOCATED", "FRAGMENTED"]
    rows = [heads]
    for line in lines:
        waits = ("-" if s is None else f"{s:,.1f}" for s in line["queueing_s"].values())
        shares = (f"{line[part]:.2f} %" for part in ("allocated_percent", "fragmented_percent"))
        rows.append([line["policy"], f"{line['waited']} of {line['jobs']}", *waits, *shares])
    print_aligned(rows)
    click.echo(f"Who waits starts {lines[0]['waiting_rule']}.")


def _plotter(plot: Path | None) -> Callable[[Sequence[Run], Path], None] | None:
    """Asked for before anything runs: a missing library is told at once."""
    if plot is None:
        return None
    if not plot.parent.is_dir():
        raise Refused(f"--plot {plot}: the folder is not there")
    try:
        from penstock_scheduler.simulate.plot import draw
    except ImportError as error:
        sentence = f"--plot needs matplotlib ({error}): pip install 'penstock[plot]'"
        raise Refused(sentence) from error
    return draw


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's stderr, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.advance(task, done)


def _print_json(value: Any) -> None:
    import msgspec

    click.echo(msgspec.json.encode(value))


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


def print_aligned(rows: Sequence[Sequence[str]]) -> None:
    """Columns padded to their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
