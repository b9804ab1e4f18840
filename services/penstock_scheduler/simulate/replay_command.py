"""How is a trace with times replayed from the command line?

`penstock simulate replay`: options, and what is printed. It does not know how a replay goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock_scheduler.simulate.options import chosen, positive, seeds_option, trace_options
from penstock_scheduler.simulate.printing import print_aligned, print_json, progress_bar
from penstock_scheduler.simulate.refusals import Refused, refusing_tables

if TYPE_CHECKING:
    from penstock_scheduler.simulate.traces import Nodes, Timed

COMPRESS_MAX = 1e9
REPEAT_MAX = 1_000
LOAD_MAX = 10.0
_SHARES = ("allocated_percent", "allocated_percent_while_waiting", "fragmented_percent")


@click.command("replay")
@trace_options
@click.option(
    "--repeat",
    type=click.IntRange(1, REPEAT_MAX),
    default=1,
    show_default=True,
    help="Lay the trace over itself, each copy shifted by an offset that the seed draws.",
)
@click.option(
    "--even", is_flag=True, help="Same order, but the same time between every two arrivals."
)
@seeds_option("42", "Offsets of the copies; only of use with --repeat, or a random policy.")
@click.option(
    "--compress",
    type=float,
    callback=positive(COMPRESS_MAX),
    help="Divide the times between arrivals by this; durations stay.  [default: 1]",
)
@click.option(
    "--load",
    type=float,
    callback=positive(LOAD_MAX),
    help="Compress until arrivals ask for so much of the device time there is while they come.",
)
def replay_command(
    nodes: Path,
    jobs: Path,
    policies: tuple[str, ...],
    workload: str,
    repeat: int,
    even: bool,
    seeds: tuple[int, ...],
    compress: float | None,
    load: float | None,
    json_output: bool,
) -> None:
    """Let jobs come and go at their times, and see how long they wait.

    The file of jobs needs the columns creation_time and deletion_time, in seconds. Jobs that do not
    fit wait in order of arrival; whoever fits may overtake.
    """
    from penstock_scheduler.simulate.arrivals import evened, repeated
    from penstock_scheduler.simulate.expectations import known_workload
    from penstock_scheduler.simulate.outcomes import replays_summary
    from penstock_scheduler.simulate.placement import ARRIVALS_MAX
    from penstock_scheduler.simulate.replay import replay
    from penstock_scheduler.simulate.traces import read_nodes, read_timed_jobs

    names = chosen(policies)
    if load is not None and compress is not None:
        raise Refused("bad_load", "--load says itself how much to --compress", json_output)
    with refusing_tables(json_output):
        fleet = read_nodes(nodes)
        timed = read_timed_jobs(jobs, fleet)
    if len(timed) * repeat > ARRIVALS_MAX:
        said = f"--repeat {repeat}: {len(timed) * repeat} jobs, at most {ARRIVALS_MAX}"
        raise Refused("bad_repeat", said, json_output)
    known = known_workload(workload, [job.shape for job in timed], fleet)
    lines: list[dict[str, Any]] = []
    with progress_bar(len(timed) * repeat * len(names) * len(seeds)) as progress:
        for seed in seeds:
            copies = repeated(timed, repeat, seed)
            copies = evened(copies) if even else copies
            factor = _compression(copies, fleet, compress, load, json_output)
            for policy in names:
                found = replay(fleet, copies, policy, seed, factor, known, progress)
                lines.append(found.line())
                if json_output:
                    print_json(lines[-1])
    result = replays_summary(lines, names)
    if json_output:
        print_json(result)
    else:
        _print_replays(lines, result)


def _compression(
    jobs: Sequence[Timed],
    fleet: Nodes,
    compress: float | None,
    load: float | None,
    as_json: bool,
) -> float:
    from penstock_scheduler.simulate.arrivals import compression_for

    if load is None:
        return 1.0 if compress is None else compress
    factor = compression_for(jobs, fleet.capacity_milli, load)
    if factor is None:
        said = f"--load {load}: however close they come, the jobs ask for less: --repeat"
        raise Refused("bad_load", said, as_json)
    return factor


def _print_replays(lines: Sequence[dict[str, Any]], result: dict[str, Any]) -> None:
    heads = ["POLICY", "SEED", "WAITED", "MEAN S", "P50 S", "P99 S", "MAX S", "ALLOCATED"]
    rows = [[*heads, "WHILE ANY WAIT", "FRAGMENTED"]]
    for line in lines:
        waits = ("-" if s is None else f"{s:,.1f}" for s in line["queueing_s"].values())
        shares = ("-" if line[part] is None else f"{line[part]:.2f} %" for part in _SHARES)
        waited = f"{line['waited']} of {line['jobs']}"
        rows.append([line["policy"], str(line["seed"]), waited, *waits, *shares])
    print_aligned(rows)
    for line in result["summary"]:
        if "paired_difference" in line:
            paired = line["paired_difference"]
            click.echo(
                f"{line['policy']} against {paired['to']}, paired: "
                f"{paired['queueing_mean_s']['mean']:+,.1f} s of waiting, "
                f"{paired['allocated_percent']['mean']:+.2f} % of the fleet allocated, "
                f"{paired['allocated_percent_while_waiting']['mean']:+.2f} % while any wait"
            )
    click.echo(f"Who waits starts {lines[0]['waiting_rule']}.")
