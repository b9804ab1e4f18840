"""Which seeds does the mesh survive?

`python -m tests.simulation --seeds 1-200` runs worlds on all cores, one process each, and prints a
line for every seed that breaks a promise: with the shortest prefix of faults that still does, and
the story of the job or device concerned.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

import msgspec

from tests.simulation.campaign import Campaign, seeds_of
from tests.simulation.report import explain
from tests.simulation.run import Result
from tests.simulation.world import Size

EXPLAINED_MAX = 3


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    seeds = seeds_of(options.seeds)
    size = Size(hosts=options.hosts, jobs=options.jobs)
    campaign = Campaign(size, workers=options.workers, faults_max=options.faults)
    begun_s, failed, done, cpu_s = time.monotonic(), 0, 0, 0.0
    for result in campaign.run(seeds):
        done += 1
        cpu_s += result.cpu_s
        failed += not result.ok
        _show(result, options, done, len(seeds), failed)
        if not result.ok and options.explain and failed <= EXPLAINED_MAX:
            print(explain(campaign, result, shrink=not options.no_shrink), flush=True)
        if failed and options.stop_at_first:
            break
    campaign.close()
    summary = {
        "seeds": done,
        "failed": failed,
        "wall_s": round(time.monotonic() - begun_s, 1),
        "cpu_s": round(cpu_s, 1),
    }
    print(msgspec.json.encode(summary).decode() if options.json else _sentence(summary))
    return 1 if failed else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="1-20", help="such as 1-200 or 7 or 3,9,12-20")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--hosts", type=int, default=Size().hosts)
    parser.add_argument("--jobs", type=int, default=Size().jobs)
    parser.add_argument("--faults", type=int, help="only the first so many faults of each seed")
    parser.add_argument("--json", action="store_true", help="one line of JSON for every seed")
    parser.add_argument("--explain", action="store_true", help="shrink and tell each failure")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--stop-at-first", action="store_true")
    return parser.parse_args(arguments)


def _show(result: Result, options: argparse.Namespace, done: int, total: int, failed: int) -> None:
    if options.json:
        print(msgspec.json.encode(result).decode(), flush=True)
    elif not result.ok:
        print(f"seed {result.seed}: {len(result.violations)} broken promises", flush=True)
        for violation in result.violations:
            print(f"  {violation.code}: {violation.sentence}", flush=True)
    if sys.stderr.isatty():
        print(f"\r{done}/{total} seeds, {failed} failed", end="", file=sys.stderr, flush=True)


def _sentence(summary: dict[str, float]) -> str:
    return (
        f"{summary['seeds']} seeds, {summary['failed']} failed, "
        f"{summary['wall_s']} s ({summary['cpu_s']} s of CPU)"
    )


if __name__ == "__main__":
    raise SystemExit(main())
