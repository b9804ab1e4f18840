"""How fast does dask.distributed start processes, in the shape of `bench_pipeline`?

Run by `bench_peers` inside the peers' own environment; prints JSON lines. Each task spawns one real
process and waits for it; nothing is durable.
"""

from __future__ import annotations

import json
import os
import sys
import time

import distributed
from distributed import Client, LocalCluster, wait


def run(command: list[str]) -> int:
    pid = os.posix_spawn(command[0], command, os.environ)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    settings = json.loads(sys.argv[1])
    threads = settings["slots"] // 2
    with (
        LocalCluster(n_workers=2, threads_per_worker=threads, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        submitted: dict[str, int] = {}
        for number in range(settings["warmup"] + settings["samples"]):
            name = f"{number}"
            command = [*settings["stamp"], settings["file"], name]
            submitted[name] = time.time_ns()
            client.submit(run, command, pure=False).result()
        jobs = settings["jobs"]
        began = time.perf_counter()
        wait([client.submit(run, ["/bin/true"], pure=False) for _ in range(jobs)])
        took_s = time.perf_counter() - began
    answer = {
        "version": distributed.__version__,
        "submitted": submitted,
        "jobs_per_s": round(jobs / took_s, 1),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
