"""What does a mesh do, from nothing to a bill?

Starts one with four simulated hosts of eight GPUs, runs real processes on it by the `penstock`
command as users would, and ends with an audit. Leaves no process and no file behind. Run by
`make demo`; exit code 0 when everything went as it should.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from stage import STEP_TIMEOUT_S, Failed, Stage, until

FLEET = "4x8xH100"
TENANTS = ("astro", "bio", "chem")
TRAININGS_PER_TENANT = 12

GANG = """
import os, socket, sys, time
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
if rank == 0:
    with socket.create_server(address) as server:
        peers = [server.accept()[0] for _ in range(world - 1)]
        ranks = sorted(int(peer.recv(8)) for peer in peers)
    print(f"rank 0 met ranks {ranks} at {address[0]}:{address[1]}")
else:
    for attempt in range(1000):
        try:
            peer = socket.create_connection(address)
            break
        except ConnectionRefusedError:
            time.sleep(0.01)
    peer.sendall(str(rank).encode())
"""


def main() -> int:
    began = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="penstock-demo-"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stage = Stage(home, FLEET)
    problem: BaseException | None = None
    try:
        perform(stage)
    except (Failed, KeyboardInterrupt, subprocess.TimeoutExpired, LookupError) as error:
        problem = error
    finally:
        try:
            stage.stop()
        except Failed as error:
            problem = problem or error
    if problem is not None:
        print(f"\nthe demo failed: {problem or type(problem).__name__}", file=sys.stderr)
        print(stage.log_tail(), file=sys.stderr)
    shutil.rmtree(home, ignore_errors=True)
    if problem is None:
        print(f"\nDone in {time.monotonic() - began:.0f} s; nothing is left running.")
    return 0 if problem is None else 1


def perform(stage: Stage) -> None:
    heading("A mesh of four simulated hosts with eight GPUs each")
    tell(stage.await_ready())
    heading(f"{len(TENANTS) * TRAININGS_PER_TENANT} training jobs of three tenants")
    submit_trainings(stage)
    heading("Jobs with a story")
    show_exit_code(stage)
    show_gang(stage)
    show_time_limit(stage)
    show_cancel(stage)
    show_waiting(stage)
    heading("What became of all of them")
    summarise(stage)
    heading("The bill")
    tell(stage.penstock("usage"))
    heading("The audit")
    audit = stage.penstock("check")
    tell(audit)
    if "unaccounted_ms 0" not in audit:
        raise Failed("the ledger and the agents' counters differ")


def submit_trainings(stage: Stage) -> None:
    """Many short jobs in one file per tenant."""
    for tenant in TENANTS:
        documents = []
        for number in range(TRAININGS_PER_TENANT):
            steps = 2 + number % 4
            script = f"for s in $(seq {steps}); do echo step $s; sleep 0.2; done"
            documents.append(
                {
                    "name": f"{tenant}-{number}",
                    "command": ["sh", "-c", script],
                    "gpus": (1, 2, 4)[number % 3],
                }
            )
        file = stage.home / f"{tenant}.yaml"
        file.write_text("\n---\n".join(json.dumps(document) for document in documents))
        stage.penstock("submit", "--tenant", tenant, str(file))
        tell(f"penstock submit --tenant {tenant} {file.name}: {len(documents)} jobs")


def show_exit_code(stage: Stage) -> None:
    script = "echo loading data; echo 'no such file: weights.bin' >&2; exit 7"
    failing = stage.begin(
        "run", "--gpus", "1", "--tenant", "bio", "--name", "fails", "--", "sh", "-c", script
    )
    out, err = failing.communicate(timeout=STEP_TIMEOUT_S)
    tell(f"a failing job: stdout {out!r}, stderr {err!r}, exit code {failing.returncode}")
    if failing.returncode != 7:
        raise Failed("the exit code of the job is lost")


def show_gang(stage: Stage) -> None:
    met = stage.penstock(
        "run", "--ranks", "4", "--gpus", "2", "--tenant", "astro", "--name", "gang", "--",
        sys.executable, "-c", GANG,
    )  # fmt: skip
    tell(f"a gang of four: {met.strip()}")
    if "rank 0 met ranks [1, 2, 3]" not in met:
        raise Failed("the ranks did not find each other")


def show_time_limit(stage: Stage) -> None:
    stage.penstock(
        "run", "--gpus", "1", "--tenant", "chem", "--name", "endless", "--time-limit", "1s", "--",
        "sleep", "600", exit_code=None,
    )  # fmt: skip
    until(lambda: stage.jobs()["endless"]["state"] == "timed_out", "the time limit is enforced")
    tell("an endless job: stopped by its time limit of 1 s")


def show_cancel(stage: Stage) -> None:
    unwanted = stage.begin(
        "run", "--gpus", "1", "--tenant", "chem", "--name", "unwanted", "--", "sleep", "600"
    )
    job_id = until(lambda: stage.jobs().get("unwanted", {}).get("job_id"), "it is known")
    until(lambda: stage.jobs()["unwanted"]["state"] == "running", "it runs")
    stage.penstock("cancel", job_id)
    unwanted.communicate(timeout=STEP_TIMEOUT_S)
    tell(f"an unwanted job: penstock cancel {job_id}")


def show_waiting(stage: Stage) -> None:
    """A job that takes the whole fleet, and one that has to wait for it."""
    until(lambda: live_jobs(stage) == [], "the trainings are done")
    enough = stage.home / "enough"
    holder = stage.begin(
        "run", "--ranks", "4", "--gpus", "8", "--tenant", "astro", "--name", "big", "--",
        "sh", "-c", f"until [ -e {enough} ]; do sleep 0.1; done",
    )  # fmt: skip
    until(lambda: stage.jobs().get("big", {}).get("state") == "running", "the big job runs")
    waiting = stage.begin(
        "run", "--gpus", "8", "--tenant", "bio", "--name", "patient", "--", "echo", "at last"
    )
    job_id = until(lambda: stage.jobs().get("patient", {}).get("job_id"), "it is known")
    why = stage.ask("explain", job_id)
    tell(f"a job that must wait: {why['state']}: {why['sentence']}")
    if why["state"] != "queued":
        raise Failed("the job did not have to wait")
    enough.touch()
    out, _ = waiting.communicate(timeout=STEP_TIMEOUT_S)
    holder.communicate(timeout=STEP_TIMEOUT_S)
    tell(f"and then: {out.strip()}")


def summarise(stage: Stage) -> None:
    until(lambda: live_jobs(stage) == [], "every job has ended")
    jobs = stage.jobs()
    rows = [("job", "tenant", "state", "exit", "ranks", "GPUs")]
    for name in ("gang", "fails", "endless", "unwanted", "big", "patient"):
        job, spec = jobs[name], jobs[name]["spec"]
        exit_code = job.get("exit_code")
        rows.append(
            (
                name,
                job["tenant"],
                job["state"],
                "" if exit_code is None else str(exit_code),
                str(spec.get("ranks", 1)),
                str(spec.get("ranks", 1) * spec.get("gpus", 0)),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        tell("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)))
    states = Counter(job["state"] for job in jobs.values())
    processes = sum(job["spec"].get("ranks", 1) for job in jobs.values() if job.get("started_ms"))
    tell(", ".join(f"{count} {state}" for state, count in states.most_common()))
    tell(f"{processes} real processes")
    trainings = len(TENANTS) * TRAININGS_PER_TENANT
    expected = {"succeeded": trainings + 3, "failed": 1, "timed_out": 1, "cancelled": 1}
    if states != expected or processes < 40:
        raise Failed(f"expected {expected} and at least 40 processes")


def live_jobs(stage: Stage) -> list[str]:
    ended = {"succeeded", "failed", "cancelled", "timed_out", "rejected"}
    return [name for name, job in stage.jobs().items() if job["state"] not in ended]


def heading(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def tell(text: str) -> None:
    print(text.rstrip(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
