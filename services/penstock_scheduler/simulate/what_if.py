"""How would the jobs that a mesh has run have fared with other nodes, or under another policy?

Its own history comes again, once to the fleet and the policy as they are, once as they might be. It
does not know how a mesh is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click
import msgspec

from penstock_contracts.nodes import NodeDescription, NodeView
from penstock_contracts.queries import JobView
from penstock_contracts.queue_policy import QueuePolicy
from penstock_scheduler.simulate.printing import print_json, progress_bar
from penstock_scheduler.simulate.queue_command import print_lines
from penstock_scheduler.simulate.queue_jobs import Fleet, described, history, more_nodes
from penstock_scheduler.simulate.queue_outcomes import line_of
from penstock_scheduler.simulate.queue_world import Play, play
from penstock_scheduler.simulate.refusals import refusing_tables

AS_IT_IS, CHANGED = "as it is", "changed"
TICK_MS, RESTART_MS = 60_000, 60_000


def compare(
    jobs: Sequence[JobView],
    nodes: Sequence[NodeView],
    policies: tuple[QueuePolicy, QueuePolicy],
    *,
    more: Sequence[tuple[int, str]] = (),
    without: Sequence[str] = (),
    as_json: bool,
) -> None:
    """Prints what came of both. `policies`: the one that holds, and the other one; `more`: GPUs by
    model that there would be besides; `without`: nodes that there would not be."""
    now = tuple(described(node) for node in nodes if node.schedulable)
    then = changed(now, more, without)
    with refusing_tables(as_json):
        fleet, left_out = history(jobs, now, "the mesh's jobs")
    with progress_bar(2 * len(fleet.jobs)) as progress:
        lines = [
            _line(AS_IT_IS, fleet, policies[0], left_out, progress),
            _line(CHANGED, fleet._replace(nodes=then), policies[1], left_out, progress),
        ]
    difference = {"difference": differences(*lines)}
    if as_json:
        for line in (*lines, difference):
            print_json(line)
        return
    print_lines(lines, {"summary": []})
    waits = [line["queueing_s"]["mean"] or 0.0 for line in lines]
    click.echo(f"jobs would have waited {waits[1]:,.1f} s instead of {waits[0]:,.1f} s on average")


def changed(
    nodes: tuple[NodeDescription, ...], more: Sequence[tuple[int, str]], without: Sequence[str]
) -> tuple[NodeDescription, ...]:
    """The nodes without some, and with more GPUs of some models."""
    found = tuple(node for node in nodes if node.node not in without)
    for count, model in more:
        found += more_nodes(nodes, count, model)
    return found


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float | None]:
    """What is more in the second than in the first."""
    found: dict[str, float | None] = {}
    for what in ("queueing_s", "completion_s"):
        for part in ("mean", "p50", "p99"):
            found[f"{what[:-2]}_{part}_s"] = _minus(after[what][part], before[what][part])
    for what in ("makespan_s", "utilisation_percent", "gpu_hours_lost", "never_ran"):
        found[what] = _minus(after[what], before[what])
    return found


def _minus(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else round(after - before, 4)


def _line(
    name: str,
    fleet: Fleet,
    policy: QueuePolicy,
    left_out: int,
    progress: Callable[[int], None],
) -> dict[str, Any]:
    """Times for which nodes were set aside lie elsewhere in the history, and do not count."""
    policy = msgspec.structs.replace(policy, reservations=())
    story = play(fleet, policy, Play(TICK_MS, RESTART_MS), progress)
    return line_of(name, [story], left_out)
