"""How is the chaos test run from a shell?

    python -m tests.chaos --minutes 20 --seed 1 --jobs 5000

One JSON line tells the outcome; exit 1 when a promise was broken, 2 when this machine cannot.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from chaos.campaign import Campaign, Plan  # noqa: E402 - the paths come first
from chaos.mesh import Size  # noqa: E402
from chaos.network import NotPossible  # noqa: E402

JOBS_PER_MINUTE = 260


def main() -> int:
    parser = argparse.ArgumentParser(description="A real mesh on a real cluster, under fire.")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, help=f"default: {JOBS_PER_MINUTE} a minute")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--fault-every", type=float, default=4.0, help="seconds, on average")
    parser.add_argument("--keep", action="store_true", help="leave logs and stories behind")
    given = parser.parse_args()
    plan = Plan(
        seed=given.seed,
        seconds=given.minutes * 60,
        jobs=given.jobs or int(given.minutes * JOBS_PER_MINUTE),
        fault_every_s=given.fault_every,
        size=Size(nodes=given.nodes, devices=given.devices),
    )
    root = Path(tempfile.mkdtemp(prefix="penstock-chaos-"))
    try:
        summary = asyncio.run(run(plan, root))
    except NotPossible as error:
        shutil.rmtree(root, ignore_errors=True)
        print(f"make chaos is not possible here: {error}", file=sys.stderr)
        return 2
    broken = bool(summary["violations"]) or not summary["check_ok"] or not summary["drained"]
    if given.keep or broken:
        print(f"logs and stories: {root}", file=sys.stderr)
    else:
        shutil.rmtree(root, ignore_errors=True)
    print(json.dumps(summary))
    return int(broken)


async def run(plan: Plan, root: Path) -> dict[str, Any]:
    """The summary; a SIGTERM ends the run in good order."""
    this = asyncio.current_task()
    if this is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    return await Campaign(plan, root, say=lambda text: print(text, file=sys.stderr)).run()


if __name__ == "__main__":
    sys.exit(main())
