"""How fast does HyperQueue start processes, in the shape of `bench_pipeline`?

Run by `bench_peers` inside the peers' own environment; prints JSON lines. Its client learns of an
end in steps of one second, so that ends are taken from a last task that depends on all others.
Without its journal nothing is durable.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

from hyperqueue import Job
from hyperqueue.cluster import LocalCluster, WorkerConfig

POLL_S = 0.0005
PAUSE_S = 0.01
TIMEOUT_S = 300.0


def await_line(file: Path, name: str) -> int:
    """Unix ns that `name` stamped into the file."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        if file.exists():
            for line in reversed(file.read_text(encoding="ascii").splitlines()):
                if line.startswith(f"{name} "):
                    return int(line.split()[1])
        time.sleep(POLL_S)
    raise TimeoutError(f"{name} did not run")


def main() -> None:
    settings = json.loads(sys.argv[1])
    file = Path(settings["file"])
    os.chdir(file.parent)
    submitted: dict[str, int] = {}
    with LocalCluster(worker_config=WorkerConfig(cores=settings["slots"])) as cluster:
        client = cluster.client()
        for number in range(settings["warmup"] + settings["samples"]):
            name, job = f"{number}", Job()
            job.program([*settings["stamp"], str(file), name], stdout=None, stderr=None)
            submitted[name] = time.time_ns()
            client.submit(job)
            await_line(file, name)
            time.sleep(PAUSE_S)
        job = Job()
        tasks = [
            job.program(["/bin/true"], stdout=None, stderr=None) for _ in range(settings["jobs"])
        ]
        last = [*settings["stamp"], str(file), "last"]
        job.program(last, stdout=None, stderr=None, deps=tasks)
        began_ns = time.time_ns()
        client.submit(job)
        took_s = (await_line(file, "last") - began_ns) / 1e9
    answer = {
        "version": version("hyperqueue"),
        "submitted": submitted,
        "jobs_per_s": round(settings["jobs"] / took_s, 1),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
