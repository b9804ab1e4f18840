"""Does `penstock run` behave like the program it runs?

Streams, exit codes, output to the last byte, environment, limits and Ctrl-C, against a real mesh.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys

import pytest

from e2e.mesh import Mesh, until

FIFTY_MB = 50_000_000
WRITE_50_MB = f"""
import sys
line = bytes(range(32, 126)) + b"\\n"
data = (line * ({FIFTY_MB} // len(line) + 1))[:{FIFTY_MB}]
sys.stdout.buffer.write(data)
"""


def test_output_goes_to_its_own_stream_and_the_exit_code_is_the_jobs(mesh: Mesh) -> None:
    done = mesh.cli(
        "run", "--gpus", "1", "--", "sh", "-c", "echo out; echo err >&2; exit 7", exit_code=7
    )
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_a_job_that_writes_50_mb_and_exits_at_once_loses_no_byte(mesh: Mesh) -> None:
    done = mesh.cli("run", "--", sys.executable, "-c", WRITE_50_MB, timeout_s=60)
    line = bytes(range(32, 126)) + b"\n"
    expected = (line * (FIFTY_MB // len(line) + 1))[:FIFTY_MB]
    got = done.stdout.encode()
    assert len(got) == FIFTY_MB
    assert hashlib.sha256(got).hexdigest() == hashlib.sha256(expected).hexdigest()


def test_a_job_sees_its_devices_its_own_environment_and_its_trace(mesh: Mesh) -> None:
    done = mesh.cli(
        "run", "--gpus", "2", "--env", "GREETING=hello world", "--",
        "sh", "-c", 'echo "$CUDA_VISIBLE_DEVICES|$GREETING|$TRACEPARENT|$RANK|$WORLD_SIZE"',
    )  # fmt: skip
    devices, greeting, trace, rank, world = done.stdout.strip().split("|")
    assert len(devices.split(",")) == 2
    assert greeting == "hello world"
    version, trace_id, span_id, _flags = trace.split("-")
    assert (version, len(trace_id), len(span_id)) == ("00", 32, 16)
    assert (rank, world) in {("0", "1"), ("", "")}


def test_a_job_without_gpus_sees_no_device(mesh: Mesh) -> None:
    done = mesh.cli("run", "--", "sh", "-c", 'echo "[${CUDA_VISIBLE_DEVICES-unset}]"')
    assert done.stdout.strip() in {"[]", "[-1]", "[NoDevFiles]"}


def test_a_job_starts_with_default_signal_dispositions(mesh: Mesh) -> None:
    done = mesh.cli("run", "--", "grep", "-E", "^Sig(Ign|Blk):", "/proc/self/status")
    masks = {line.split(":")[0]: int(line.split()[1], 16) for line in done.stdout.splitlines()}
    standard = (1 << 31) - 1  # the C library's own two signals follow
    assert {name: mask & standard for name, mask in masks.items()} == {"SigIgn": 0, "SigBlk": 0}


def test_a_time_limit_ends_the_job_as_timed_out(mesh: Mesh) -> None:
    done = mesh.cli(
        "run", "--gpus", "1", "--time-limit", "1s", "--name", "limited", "--", "sleep", "60",
        exit_code=None,
    )  # fmt: skip
    assert done.returncode == 124
    newest = mesh.jobs("limited")
    assert [job["state"] for job in newest] == ["timed_out"]


def test_a_command_that_does_not_exist_fails_with_a_message(mesh: Mesh) -> None:
    done = mesh.cli("run", "--", "/no/such/program", exit_code=None)
    assert done.returncode == 127
    assert "/no/such/program" in done.stderr


def test_a_job_killed_by_a_signal_gives_128_plus_its_number(mesh: Mesh) -> None:
    mesh.cli("run", "--", "sh", "-c", "kill -TERM $$", exit_code=128 + signal.SIGTERM)


def test_ctrl_c_cancels_the_job(mesh: Mesh) -> None:
    running = mesh.popen(
        "run", "--gpus", "1", "--name", "interrupted", "--", "sh", "-c", "echo go; exec sleep 60"
    )
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == "go\n"
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 130
    finally:
        running.kill()
        running.communicate()

    def state() -> str:
        (job,) = mesh.jobs("interrupted")
        return str(job["state"])

    until(lambda: state() == "cancelled", what="the job is cancelled")


@pytest.mark.parametrize("count", [8, pytest.param(60, marks=pytest.mark.long)])
def test_many_runs_at_once_each_get_their_own_output(mesh: Mesh, count: int) -> None:
    at_once = min(count, 4 * (os.cpu_count() or 2))
    for first in range(0, count, at_once):
        numbers = range(first, min(first + at_once, count))
        runs = {
            n: mesh.popen("run", "--gpus", "1", "--", "sh", "-c", f"echo {n}; exit {n % 3}")
            for n in numbers
        }
        for n, process in runs.items():
            out, err = process.communicate(timeout=40)
            assert (out, err, process.returncode) == (f"{n}\n", "", n % 3)
