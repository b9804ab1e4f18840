"""How long does nobody decide when the active scheduler dies?

A cluster of three brokers (three replicas, synced), a scheduler and its standby on hosts of their
own (neither sees the other's process), one node, and a stream of short jobs. The active one gets
kill -9; measured is from there to the next placement in the journal. It needs root and `ip`: each
host is a network namespace.

    python benchmarks/bench_failover.py [--repetitions 20]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import msgspec  # noqa: E402
from tests.checkers.history import History  # noqa: E402

from chaos.load import Load, boottime_ns  # noqa: E402 - the paths come first
from chaos.mesh import CONTROLS, USER_HOST, ChaosMesh, Size  # noqa: E402
from chaos.network import NotPossible  # noqa: E402
from chaos.observer import Observer  # noqa: E402
from chaos.witness import Witness  # noqa: E402
from penstock_bus.nats import NatsBus, connect  # noqa: E402
from penstock_runtime.leadership import BUCKET, Holder  # noqa: E402

JOBS_PER_S = 8.0
SETTLED_S = 4.0
"""The killed one is started again after a second and stands by soon after."""
PLACED_TIMEOUT_S = 60.0
POLL_S = 0.01
READY_TIMEOUT_S = 60.0


async def measure(repetitions: int, root: Path) -> dict[str, Any]:
    mesh = ChaosMesh(root, Size(nodes=1, devices=8))
    history = History()
    witness = Witness(root)
    await witness.open()
    history.runs = witness.runs
    try:
        await mesh.open()
        admin = await mesh.admin()
        observer = Observer(admin, history)
        observer.start()
        creds = str(mesh.directory.client_creds)
        user = await connect(mesh.url(USER_HOST), name="failover", credentials=creds)
        load = Load(user, history, witness.path, random.Random(1), 8)
        seconds = READY_TIMEOUT_S + repetitions * (SETTLED_S + 6.0)
        loading = asyncio.ensure_future(load.run(int(seconds * JOBS_PER_S), seconds))
        try:
            return await _kill_in_turn(mesh, admin, observer, repetitions)
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            await observer.close()
            await user.close()
            await admin.close()
    finally:
        await mesh.close()
        await witness.close()


async def _kill_in_turn(
    mesh: ChaosMesh, admin: NatsBus, observer: Observer, repetitions: int
) -> dict[str, Any]:
    took_s: list[float] = []
    for _ in range(repetitions):
        before = len(observer.placed)
        await _until(lambda count=before: len(observer.placed) > count)
        await asyncio.sleep(SETTLED_S)
        term = observer.placed[-1][1]
        active = await _active_scheduler(mesh, admin)
        killed_ns = boottime_ns()
        active.send(signal.SIGKILL)
        await _until(lambda term=term: observer.placed[-1][1] > term)
        placed_ns = next(at_ns for at_ns, of in observer.placed if of > term)
        took_s.append((placed_ns - killed_ns) / 1e9)
    took_s.sort()
    return {
        "bench": "failover",
        "repetitions": repetitions,
        "kill_to_placement_s": {
            "p50": round(took_s[len(took_s) // 2], 3),
            "p90": round(took_s[int(len(took_s) * 0.9)], 3),
            "min": round(took_s[0], 3),
            "max": round(took_s[-1], 3),
        },
        "all_s": [round(one, 2) for one in took_s],
    }


async def _active_scheduler(mesh: ChaosMesh, admin: NatsBus) -> Any:
    """The holder of the lock names its process namespace, which only one of the two has."""
    found = await admin.kv_get(BUCKET, "scheduler")
    if found is None:
        raise RuntimeError("nobody holds the scheduler's lock")
    space = msgspec.json.decode(found.value, type=Holder).host.rpartition("/")[2]
    for host in CONTROLS:
        process = mesh.warden.processes[f"scheduler-{host}"]
        if process.pid is not None and os.readlink(f"/proc/{process.pid}/ns/pid") == space:
            return process
    raise RuntimeError(f"no scheduler lives in {space}")


async def _until(holds: Any) -> None:
    deadline = time.monotonic() + PLACED_TIMEOUT_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("no placement came")
        await asyncio.sleep(POLL_S)


def main() -> int:
    parser = argparse.ArgumentParser(description="Scheduler failover, kill -9 to placement.")
    parser.add_argument("--repetitions", type=int, default=20)
    given = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="penstock-failover-"))
    try:
        print(json.dumps(asyncio.run(measure(given.repetitions, root))))
    except NotPossible as error:
        print(json.dumps({"bench": "failover", "not_possible": str(error)}))
    finally:
        print(root)  # shutil.rmtree(root, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
