"""Is a day of mixed load fair on the real mesh, and is every guarantee honoured in time?

64 simulated hosts of eight devices, each with its real agent and reaper; five tenants with
guarantees of 40, 20, 20, 10 and 10 percent; jobs are short real processes. A day is played in some
minutes: its hours and jobs are shorter alike, what scheduler and hosts take is not. Told in JSON:
what each tenant held and should have held, how long at most something guaranteed was owed, and what
preemptions led to.

    python benchmarks/bench_queue_day.py [--minutes 24] [--hosts 64]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from measure.mesh import PENSTOCK, Mesh, a_home
from measure.report import emit, say

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from e2e.mixed_day.plan import Day  # noqa: E402 - the paths come first
from e2e.mixed_day.playing import play_day, report  # noqa: E402

DEVICES = 8


class Hosts(Mesh):
    """Simulated hosts only."""

    def command(self, simulate: str) -> list[str]:
        return [*super().command(simulate), "--no-local-node"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=24.0)
    parser.add_argument("--hosts", type=int, default=64)
    parser.add_argument("--median", type=float, default=8.0, help="of jobs, in the day's minutes")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    day = Day(arguments.minutes * 60, arguments.hosts * DEVICES, arguments.median)
    load_before = os.getloadavg()[0]
    with a_home() as home:
        say(f"starting {arguments.hosts} hosts")
        mesh = Hosts(home, f"{arguments.hosts}x{DEVICES}xH100")
        try:
            said = play(mesh, day, arguments.seed)
        finally:
            mesh.stop()
    emit(
        bench="queue_day",
        hosts=arguments.hosts,
        gpus=day.gpus,
        minutes=arguments.minutes,
        median_minutes=arguments.median,
        cores=os.cpu_count(),
        load_before=load_before,
        **said,
    )


def play(mesh: Mesh, day: Day, seed: int) -> dict[str, Any]:
    policy = mesh.home / "policy.toml"
    policy.write_text(day.policy(), "utf-8")
    subprocess.run(
        [PENSTOCK, "apply", policy, "--yes"], env=mesh.env, check=True, stdout=sys.stderr
    )
    say(f"playing a day in {day.seconds:g} s")
    admin = mesh.data / "creds" / "admin.creds"
    return report(asyncio.run(play_day(day, mesh.nats_url, mesh.creds, admin, seed)))


if __name__ == "__main__":
    main()
