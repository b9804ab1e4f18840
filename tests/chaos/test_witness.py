"""The witness knows what a job wrote, also of one that was killed."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.chaos.witness import Witness
from tests.checkers.history import Run

LEASE = "7/job-a/0"
FIRST = {
    "began": 1,
    "pid": 2,
    "job": "job-a",
    "tenant": "red",
    "attempt": 1,
    "rank": 0,
    "node": "w1",
    "lease": LEASE,
    "devices": "0",
}
WHOLE = len(f"out {LEASE}\n")


async def seen(directory: Path, *lines: dict[str, object]) -> Run:
    """What the witness makes of a job that says these lines and is gone."""
    witness = Witness(directory)
    await witness.open()
    reader, writer = await asyncio.open_unix_connection(witness.path)
    for line in (FIRST, *lines):
        writer.write(json.dumps(line).encode() + b"\n")
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await witness.close()
    (run,) = witness.runs
    return run


@pytest.mark.parametrize("end", [(), ({"ended": 5, "code": 0},)])
async def test_what_a_full_disk_took_is_known_however_the_job_ended(
    tmp_path: Path, end: tuple[dict[str, object], ...]
) -> None:
    run = await seen(tmp_path, {"wrote": {"stdout": WHOLE, "stderr": 0}}, *end)
    assert run.written == {"stdout": WHOLE, "stderr": 0}
    assert run.output == {"stdout": f"out {LEASE}\n".encode(), "stderr": b""}
    assert not run.output_lost
    assert run.ended_by == ("itself" if end else "reaper")


async def test_of_a_job_killed_before_it_wrote_nobody_knows_how_much(tmp_path: Path) -> None:
    run = await seen(tmp_path)
    assert run.output_lost
    assert run.written == {"stdout": WHOLE, "stderr": WHOLE}
